// Peer is what Byway's own xDS server is measured beside: go-control-plane, with the two caches that it offers.
//
//	peer serve snapshot|linear FILE    a server that has the resources of FILE and changes them when told to
//	peer client                        many delta streams that acknowledge all they get
//
// Both say one line of JSON when they are ready and one after each command on their standard input; they end with it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "serve":
		err = serve(os.Args[2], os.Args[3])
	case len(os.Args) == 2 && os.Args[1] == "client":
		err = client()
	default:
		err = fmt.Errorf("usage: peer serve snapshot|linear FILE, or peer client")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

type command struct {
	Do      string  `json:"do"`
	Address string  `json:"address"`
	Streams int     `json:"streams"`
	Groups  int     `json:"groups"`
	Group   int     `json:"group"`
	Each    int     `json:"each"`
	Seconds float64 `json:"seconds"`
}

// commands answers each line of standard input until it ends.
func commands(answer func(command) (map[string]any, error)) error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var given command
		if err := json.Unmarshal(lines.Bytes(), &given); err != nil {
			return err
		}
		said, err := answer(given)
		if err != nil {
			return err
		}
		say(said)
	}
	return lines.Err()
}

func say(what map[string]any) {
	line, _ := json.Marshal(what)
	fmt.Println(string(line))
}

// now is in seconds since the epoch: the one clock that all processes of a measurement share.
func now() float64 { return float64(time.Now().UnixNano()) / 1e9 }
