// Probe makes the requests that etcd's benchmark cannot: the first read after a start, pages at a revision, and
// connections that do nothing.
//
//	probe first-read ENDPOINT
//	probe read ENDPOINT TOTAL LIMIT REVISION   (limit 0 counts; revision 0 is the current one)
//	probe idle ENDPOINT CONNECTIONS            (until its standard input ends)
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"sort"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// The keys that `benchmark put --key-size=64 --key-space-size=1000000` writes.
const (
	keySize  = 64
	keySpace = 1_000_000
)

func main() {
	if len(os.Args) < 3 {
		fail(fmt.Errorf("usage: probe first-read|read|idle ENDPOINT ..."))
	}
	switch os.Args[1] {
	case "first-read":
		firstRead(os.Args[2])
	case "read":
		read(os.Args[2], number(3), number(4), number(5))
	case "idle":
		idle(os.Args[2], number(3))
	default:
		fail(fmt.Errorf("unknown command %s", os.Args[1]))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "probe:", err)
	os.Exit(1)
}

func number(position int) int64 {
	if position >= len(os.Args) {
		fail(fmt.Errorf("argument %d is missing", position))
	}
	value, err := strconv.ParseInt(os.Args[position], 10, 64)
	if err != nil {
		fail(err)
	}
	return value
}

func connect(endpoint string) *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		fail(err)
	}
	return client
}

// firstRead tries until a linearizable read is answered, and prints the time then in seconds since 1970.
func firstRead(endpoint string) {
	for {
		// A client that finds no listener waits a second before it tries again, so the port is tried first.
		connection, err := net.DialTimeout("tcp", endpoint, time.Second)
		if err != nil {
			time.Sleep(2 * time.Millisecond)
			continue
		}
		connection.Close()
		client := connect(endpoint)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		_, err = client.Get(ctx, "key")
		now := time.Now()
		cancel()
		client.Close()
		if err == nil {
			fmt.Printf("%.6f\n", float64(now.UnixNano())/1e9)
			return
		}
	}
}

// read sends total reads one after the other and prints the median latency in seconds.
func read(endpoint string, total, limit, revision int64) {
	client := connect(endpoint)
	defer client.Close()
	random := rand.New(rand.NewSource(1))
	latencies := make([]float64, 0, total)
	for range total {
		options := []clientv3.OpOption{clientv3.WithRange("\x00"), clientv3.WithRev(revision)}
		key := make([]byte, keySize)
		if limit > 0 {
			options = append(options, clientv3.WithLimit(limit))
			binary.PutVarint(key, random.Int63n(keySpace))
		} else {
			options = append(options, clientv3.WithCountOnly())
			key = []byte{0}
		}
		start := time.Now()
		if _, err := client.Get(context.Background(), string(key), options...); err != nil {
			fail(err)
		}
		latencies = append(latencies, time.Since(start).Seconds())
	}
	sort.Float64s(latencies)
	fmt.Printf("%.9f\n", latencies[len(latencies)/2])
}

// idle opens connections, uses each once, says so and holds them.
func idle(endpoint string, connections int64) {
	for range connections {
		client := connect(endpoint)
		defer client.Close()
		if _, err := client.Get(context.Background(), "key"); err != nil {
			fail(err)
		}
	}
	fmt.Println("connected")
	_, _ = io.Copy(io.Discard, os.Stdin)
}
