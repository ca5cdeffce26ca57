"""What every command of Byway's shares: how it prints, fails, is found, is completed and ends."""
