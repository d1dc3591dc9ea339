// Porcupine judges whether what the clients of a cluster were answered is linearizable.
//
//	porcupine HISTORY
//
// The history is a file with one operation per line, in JSON. Exit codes: 0 linearizable, 1 not linearizable, 2 no verdict.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// How long the search may take.
const patience = 5 * time.Minute

// operation is one line of the history.
type operation struct {
	Client   int     `json:"client"`
	Member   int     `json:"member"`
	Key      string  `json:"key"`
	Call     string  `json:"call"`
	Value    string  `json:"value"`
	Expected *string `json:"expected"`
	Called   int64   `json:"called"`
	Returned int64   `json:"returned"`
	Outcome  string  `json:"outcome"`
	// The store's revision in the answer; for a write, its own.
	Revision int64 `json:"revision"`
	// What was read, absent without Found.
	Found         *string `json:"found"`
	FoundRevision int64   `json:"found_revision"`
}

// state is one key.
type state struct {
	present bool
	value   string
	// The revision of the last change, 0 if its outcome was unknown and nobody has read it since.
	revision int64
	// The highest revision of a change that is known.
	floor int64
}

func main() {
	if len(os.Args) != 2 {
		fail(fmt.Errorf("usage: porcupine HISTORY"))
	}
	operations, err := read(os.Args[1])
	if err != nil {
		fail(err)
	}
	keys := byKey(operations)
	unknown := 0
	for _, one := range operations {
		if one.Outcome == "unknown" {
			unknown++
		}
	}
	for _, key := range sorted(keys) {
		check(key, keys[key])
	}
	fmt.Printf("porcupine: linearizable: %d operations on %d keys, %d of unknown outcome\n", len(operations), len(keys), unknown)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "porcupine:", err)
	os.Exit(2)
}

func read(path string) ([]operation, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var operations []operation
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var one operation
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, len(operations)+1, err)
		}
		operations = append(operations, one)
	}
	return operations, lines.Err()
}

func byKey(operations []operation) map[string][]operation {
	keys := map[string][]operation{}
	for _, one := range operations {
		keys[one.Key] = append(keys[one.Key], one)
	}
	return keys
}

func sorted(keys map[string][]operation) []string {
	var names []string
	for name := range keys {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// check ends the program unless the operations on one key are linearizable.
func check(key string, operations []operation) {
	var history []porcupine.Operation
	for _, one := range operations {
		returned := one.Returned
		if one.Outcome == "unknown" {
			// It may still happen.
			returned = math.MaxInt64
		}
		history = append(history, porcupine.Operation{
			ClientId: one.Client, Input: one, Call: one.Called, Output: nil, Return: returned,
		})
	}
	verdict, info := porcupine.CheckOperationsVerbose(model, history, patience)
	switch verdict {
	case porcupine.Ok:
		return
	case porcupine.Illegal:
		fmt.Printf("porcupine: not linearizable: %s\n", key)
		explain(operations, info)
		os.Exit(1)
	default:
		fail(fmt.Errorf("no verdict on %s in %v", key, patience))
	}
}

// explain prints the longest order that was found, and the operations that fit nowhere after it.
func explain(operations []operation, info porcupine.LinearizationInfo) {
	var longest []int
	for _, partition := range info.PartialLinearizations() {
		for _, order := range partition {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	placed := map[int]bool{}
	for _, index := range longest {
		placed[index] = true
	}
	fmt.Println("the last of the longest order that was found:")
	for _, index := range longest[max(0, len(longest)-5):] {
		fmt.Println("   ", describe(operations[index]))
	}
	var rest []operation
	for index, one := range operations {
		if !placed[index] && one.Outcome != "unknown" {
			rest = append(rest, one)
		}
	}
	sort.Slice(rest, func(i, j int) bool { return rest[i].Returned < rest[j].Returned })
	fmt.Println("the first that fit nowhere after it:")
	for _, one := range rest[:min(5, len(rest))] {
		fmt.Println("   ", describe(one))
	}
}

func describe(one operation) string {
	text, _ := json.Marshal(one)
	return string(text)
}

var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(before, input, _ any) (bool, any) {
		return step(before.(state), input.(operation))
	},
}

// step tells whether the operation could have its outcome in a state, and the state after it.
func step(before state, one operation) (bool, state) {
	switch one.Call {
	case "put":
		return wrote(before, one, true)
	case "get":
		return found(before, one)
	case "delete":
		if !before.present {
			return one.Outcome != "wrote", before
		}
		if one.Outcome == "found" {
			return false, before
		}
		return wrote(before, one, false)
	case "swap":
		expected := before.present && one.Expected != nil && before.value == *one.Expected ||
			!before.present && one.Expected == nil
		switch {
		case one.Outcome == "found" && !expected:
			return found(before, one)
		case one.Outcome == "unknown" && !expected:
			return true, before
		case one.Outcome == "found" || !expected:
			return false, before
		}
		return wrote(before, one, true)
	}
	fail(fmt.Errorf("unknown call %q", one.Call))
	return false, before
}

func wrote(before state, one operation, present bool) (bool, state) {
	after := state{present: present, floor: before.floor}
	if present {
		after.value = one.Value
	}
	if one.Outcome == "unknown" {
		return true, after
	}
	after.revision, after.floor = one.Revision, one.Revision
	return one.Revision > before.floor, after
}

func found(before state, one operation) (bool, state) {
	if one.Found == nil || !before.present {
		return one.Found == nil && !before.present, before
	}
	if *one.Found != before.value {
		return false, before
	}
	if before.revision != 0 {
		return one.FoundRevision == before.revision, before
	}
	after := before
	after.revision, after.floor = one.FoundRevision, one.FoundRevision
	return one.FoundRevision > before.floor, after
}
