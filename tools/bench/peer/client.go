package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

const method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

// Messages stay bytes: to parse them would cost more than to send them.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = raw{}

// crowd counts the responses of all streams.
type crowd struct {
	got    atomic.Int64
	wanted atomic.Int64
	done   chan float64
	mutex  sync.Mutex
	failed error
}

func client() error {
	all := &crowd{done: make(chan float64, 1)}
	streams := 0
	say(map[string]any{"ready": true})
	return commands(func(given command) (map[string]any, error) {
		switch given.Do {
		case "open":
			if err := all.open(given, streams); err != nil {
				return nil, err
			}
			streams += given.Streams
			return map[string]any{"streams": streams}, nil
		case "expect":
			all.got.Store(0)
			all.wanted.Store(int64(given.Each))
			return map[string]any{}, nil
		case "count":
			return map[string]any{"count": all.got.Load()}, nil
		case "wait":
			select {
			case at := <-all.done:
				return map[string]any{"at": at}, nil
			case <-time.After(time.Duration(given.Seconds * float64(time.Second))):
				all.mutex.Lock()
				defer all.mutex.Unlock()
				return nil, fmt.Errorf("%d of %d responses came: %v", all.got.Load(), all.wanted.Load(), all.failed)
			}
		}
		return nil, fmt.Errorf("no command %q", given.Do)
	})
}

// open opens streams, each on its own connection, a few at a time; the i-th is of group i modulo the groups.
func (c *crowd) open(given command, from int) error {
	var pending sync.WaitGroup
	limit := make(chan struct{}, 32)
	failed := make(chan error, given.Streams)
	for i := from; i < from+given.Streams; i++ {
		pending.Add(1)
		limit <- struct{}{}
		go func() {
			defer pending.Done()
			defer func() { <-limit }()
			if err := c.stream(given.Address, i, i%given.Groups); err != nil {
				failed <- err
			}
		}()
	}
	pending.Wait()
	close(failed)
	return errors.Join(<-failed)
}

func (c *crowd) stream(address string, number, group int) error {
	connection, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{}), grpc.MaxCallRecvMsgSize(1<<30)),
		grpc.WithInitialWindowSize(1<<24), grpc.WithInitialConnWindowSize(1<<24))
	if err != nil {
		return err
	}
	stream, err := connection.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	node := field(1, append(field(1, []byte(fmt.Sprintf("n%d", number))), field(2, []byte(fmt.Sprintf("g%d", group)))...))
	for i, kind := range order {
		request := append(field(2, []byte(kind)), field(3, []byte("*"))...)
		if i == 0 {
			request = append(node, request...)
		}
		if err := stream.SendMsg(request); err != nil {
			return err
		}
	}
	seen := make(chan error, 1)
	go c.follow(stream, seen)
	return <-seen
}

// follow acknowledges whatever comes. It tells `seen` when the first response to each type is there.
func (c *crowd) follow(stream grpc.ClientStream, seen chan<- error) {
	fresh := map[string]bool{}
	for {
		var data []byte
		if err := stream.RecvMsg(&data); err != nil {
			c.mutex.Lock()
			c.failed = err
			c.mutex.Unlock()
			if len(fresh) < len(order) {
				seen <- err
			}
			return
		}
		kind, nonce := read(data)
		if c.got.Add(1) == c.wanted.Load() {
			c.done <- now()
		}
		if err := stream.SendMsg(append(field(2, kind), field(6, nonce)...)); err != nil {
			return
		}
		if !fresh[string(kind)] {
			fresh[string(kind)] = true
			if len(fresh) == len(order) {
				seen <- nil
			}
		}
	}
}

func field(number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
}

// read finds the type URL (4) and the nonce (5) of a DeltaDiscoveryResponse.
func read(data []byte) (kind, nonce []byte) {
	for len(data) > 0 {
		number, wire, n := protowire.ConsumeTag(data)
		if n < 0 {
			return
		}
		data = data[n:]
		if size := protowire.ConsumeFieldValue(number, wire, data); size < 0 {
			return
		} else {
			if wire == protowire.BytesType && number == 4 {
				kind, _ = protowire.ConsumeBytes(data)
			} else if wire == protowire.BytesType && number == 5 {
				nonce, _ = protowire.ConsumeBytes(data)
			}
			data = data[size:]
		}
	}
	return
}
