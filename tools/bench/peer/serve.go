package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// item is a resource of the file.
type item struct {
	Type string `json:"type"`
	Name string `json:"name"`
	Body []byte `json:"body"`

	parsed types.Resource
}

// seed is what a server starts with, in each group, and the changes that follow.
type seed struct {
	Groups  int      `json:"groups"`
	State   []item   `json:"state"`
	Changes [][]item `json:"changes"`
}

var kinds = map[string]func() types.Resource{
	resource.ClusterType:  func() types.Resource { return &clusterv3.Cluster{} },
	resource.EndpointType: func() types.Resource { return &endpointv3.ClusterLoadAssignment{} },
	resource.ListenerType: func() types.Resource { return &listenerv3.Listener{} },
	resource.RouteType:    func() types.Resource { return &routev3.RouteConfiguration{} },
}

// parse makes messages of all bodies, ahead of what is measured: a control plane in Go has them as messages.
func parse(items []item) error {
	for k := range items {
		one := &items[k]
		made, ok := kinds[one.Type]
		if !ok {
			return fmt.Errorf("no resource type %q", one.Type)
		}
		one.parsed = made()
		if err := proto.Unmarshal(one.Body, one.parsed); err != nil {
			return err
		}
	}
	return nil
}

// caches is the one thing in which the two differ.
type caches interface {
	cache.Cache
	put(group string, version int, items []item) error
}

func serve(kind, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var given seed
	if err := json.Unmarshal(data, &given); err != nil {
		return err
	}
	for _, items := range append(given.Changes, given.State) {
		if err := parse(items); err != nil {
			return err
		}
	}
	var held caches
	switch kind {
	case "snapshot":
		held = &snapshots{cache.NewSnapshotCache(false, byCluster{}, nil), map[string]map[string]map[string]types.Resource{}}
	case "linear":
		held = newLinear()
	default:
		return fmt.Errorf("no cache %q", kind)
	}
	for group := range given.Groups {
		if err := held.put(fmt.Sprintf("g%d", group), 0, given.State); err != nil {
			return err
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	grpcServer := grpc.NewServer(grpc.MaxConcurrentStreams(1<<31 - 1))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(
		grpcServer, server.NewServer(context.Background(), held, server.CallbackFuncs{}))
	go func() { _ = grpcServer.Serve(listener) }()
	say(map[string]any{"address": listener.Addr().String()})
	done := 0
	return commands(func(asked command) (map[string]any, error) {
		at := now()
		change := given.Changes[done%len(given.Changes)]
		done++
		err := held.put(fmt.Sprintf("g%d", asked.Group), done, change)
		return map[string]any{"at": at, "took": now() - at}, err
	})
}

type byCluster struct{}

func (byCluster) ID(node *corev3.Node) string { return node.GetCluster() }

// snapshots has a snapshot of each group, shared by all its streams.
type snapshots struct {
	cache.SnapshotCache
	held map[string]map[string]map[string]types.Resource
}

func (s *snapshots) put(group string, version int, items []item) error {
	mine, ok := s.held[group]
	if !ok {
		mine = map[string]map[string]types.Resource{}
		s.held[group] = mine
	}
	for _, one := range items {
		if mine[one.Type] == nil {
			mine[one.Type] = map[string]types.Resource{}
		}
		mine[one.Type][one.Name] = one.parsed
	}
	all := map[resource.Type][]types.Resource{}
	for kind, named := range mine {
		for _, one := range named {
			all[kind] = append(all[kind], one)
		}
	}
	snapshot, err := cache.NewSnapshot(fmt.Sprint(version), all)
	if err != nil {
		return err
	}
	return s.SetSnapshot(context.Background(), group, snapshot)
}

// linear has a LinearCache of each type of each group.
type linear struct {
	cache.MuxCache
	caches map[string]*cache.LinearCache
}

func key(group, kind string) string { return group + " " + kind }

func newLinear() *linear {
	out := &linear{caches: map[string]*cache.LinearCache{}}
	out.MuxCache = cache.MuxCache{
		Classify:      func(r *cache.Request) string { return key(r.GetNode().GetCluster(), r.GetTypeUrl()) },
		ClassifyDelta: func(r *cache.DeltaRequest) string { return key(r.GetNode().GetCluster(), r.GetTypeUrl()) },
		Caches:        map[string]cache.Cache{},
	}
	return out
}

func (l *linear) put(group string, _ int, items []item) error {
	byType := map[string]map[string]types.Resource{}
	for _, one := range items {
		if byType[one.Type] == nil {
			byType[one.Type] = map[string]types.Resource{}
		}
		byType[one.Type][one.Name] = one.parsed
	}
	for _, kind := range order {
		named, ok := byType[kind]
		if !ok {
			continue
		}
		where := key(group, kind)
		held, ok := l.caches[where]
		if !ok {
			held = cache.NewLinearCache(kind)
			l.caches[where], l.MuxCache.Caches[where] = held, held
		}
		if err := held.UpdateResources(named, nil); err != nil {
			return err
		}
	}
	return nil
}

// order is that in which nothing breaks.
var order = []string{resource.ClusterType, resource.EndpointType, resource.ListenerType, resource.RouteType}
