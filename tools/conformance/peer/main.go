// Peer is go-control-plane as a server whose conformance is judged beside that of Byway's own.
//
//	peer snapshot|snapshot-ads|linear
//
// It says its address in a line when it is ready. Each line of its standard input is a JSON object of resources to set
// and to drop in one step; it answers "done" when they are in force, and ends with its input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	clusterservice "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discoveryservice "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservice "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	listenerservice "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	routeservice "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// node is the only client that there is.
const node = "node-1"

var kinds = map[string]func() types.Resource{
	resource.ClusterType:  func() types.Resource { return &clusterv3.Cluster{} },
	resource.EndpointType: func() types.Resource { return &endpointv3.ClusterLoadAssignment{} },
	resource.ListenerType: func() types.Resource { return &listenerv3.Listener{} },
	resource.RouteType:    func() types.Resource { return &routev3.RouteConfiguration{} },
}

// order is that in which nothing breaks.
var order = []string{resource.ClusterType, resource.EndpointType, resource.ListenerType, resource.RouteType}

type item struct {
	Type string `json:"type"`
	Name string `json:"name"`
	Body []byte `json:"body"`
}

type step struct {
	Set  []item `json:"set"`
	Drop []item `json:"drop"`
}

// parsed are the messages to set and the names to drop, by type.
type parsed struct {
	set  map[string]map[string]types.Resource
	drop map[string][]string
}

func parse(given step) (parsed, error) {
	out := parsed{map[string]map[string]types.Resource{}, map[string][]string{}}
	for _, one := range given.Set {
		made, ok := kinds[one.Type]
		if !ok {
			return out, fmt.Errorf("no resource type %q", one.Type)
		}
		message := made()
		if err := proto.Unmarshal(one.Body, message); err != nil {
			return out, err
		}
		if out.set[one.Type] == nil {
			out.set[one.Type] = map[string]types.Resource{}
		}
		out.set[one.Type][one.Name] = message
	}
	for _, one := range given.Drop {
		out.drop[one.Type] = append(out.drop[one.Type], one.Name)
	}
	return out, nil
}

type caches interface {
	cache.Cache
	apply(parsed) error
}

// snapshots has one snapshot, of the one node. A type's version changes when something of it does, and not before.
type snapshots struct {
	cache.SnapshotCache
	versions map[string]int
	held     map[string]map[string]types.Resource
}

func (s *snapshots) apply(given parsed) error {
	for kind, named := range given.set {
		for name, one := range named {
			s.held[kind][name] = one
		}
	}
	for kind, names := range given.drop {
		for _, name := range names {
			delete(s.held[kind], name)
		}
	}
	snapshot := &cache.Snapshot{}
	for _, kind := range order {
		if len(given.set[kind]) > 0 || len(given.drop[kind]) > 0 {
			s.versions[kind]++
		}
		all := []types.Resource{}
		for _, one := range s.held[kind] {
			all = append(all, one)
		}
		snapshot.Resources[cache.GetResponseType(kind)] = cache.NewResources(fmt.Sprint(s.versions[kind]), all)
	}
	return s.SetSnapshot(context.Background(), node, snapshot)
}

// linear has a LinearCache of each type.
type linear struct {
	cache.MuxCache
	caches map[string]*cache.LinearCache
}

func (l *linear) apply(given parsed) error {
	for _, kind := range order {
		if len(given.set[kind]) > 0 {
			if err := l.caches[kind].UpdateResources(given.set[kind], nil); err != nil {
				return err
			}
		}
	}
	for _, kind := range order {
		if len(given.drop[kind]) > 0 {
			if err := l.caches[kind].UpdateResources(nil, given.drop[kind]); err != nil {
				return err
			}
		}
	}
	return nil
}

func newCaches(kind string) (caches, error) {
	switch kind {
	case "snapshot", "snapshot-ads":
		held := map[string]map[string]types.Resource{}
		for _, each := range order {
			held[each] = map[string]types.Resource{}
		}
		plain := cache.NewSnapshotCache(kind == "snapshot-ads", cache.IDHash{}, nil)
		return &snapshots{SnapshotCache: plain, versions: map[string]int{}, held: held}, nil
	case "linear":
		out := &linear{caches: map[string]*cache.LinearCache{}}
		out.MuxCache = cache.MuxCache{
			Classify:      func(r *cache.Request) string { return r.GetTypeUrl() },
			ClassifyDelta: func(r *cache.DeltaRequest) string { return r.GetTypeUrl() },
			Caches:        map[string]cache.Cache{},
		}
		for _, each := range order {
			held := cache.NewLinearCache(each)
			out.caches[each], out.MuxCache.Caches[each] = held, held
		}
		return out, nil
	}
	return nil, fmt.Errorf("no cache %q", kind)
}

func run(kind string) error {
	held, err := newCaches(kind)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	grpcServer := grpc.NewServer()
	xds := server.NewServer(context.Background(), held, server.CallbackFuncs{})
	discoveryservice.RegisterAggregatedDiscoveryServiceServer(grpcServer, xds)
	clusterservice.RegisterClusterDiscoveryServiceServer(grpcServer, xds)
	endpointservice.RegisterEndpointDiscoveryServiceServer(grpcServer, xds)
	listenerservice.RegisterListenerDiscoveryServiceServer(grpcServer, xds)
	routeservice.RegisterRouteDiscoveryServiceServer(grpcServer, xds)
	go func() { _ = grpcServer.Serve(listener) }()
	fmt.Println(listener.Addr().String())
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var given step
		if err := json.Unmarshal(lines.Bytes(), &given); err != nil {
			return err
		}
		read, err := parse(given)
		if err != nil {
			return err
		}
		if err := held.apply(read); err != nil {
			return err
		}
		fmt.Println("done")
	}
	return lines.Err()
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: peer snapshot|snapshot-ads|linear")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}
