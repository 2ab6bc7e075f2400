package main

import (
	"fmt"
	"os"
	"strconv"
)

// modes are what this program is when it is its own child.
var modes = map[string]func(args []string) error{
	"forest": forestChild,
	"grove":  groveChild,
	"loop":   loopChild,
}

// child lives the life of a mode and returns the exit code.
func child(mode string, args []string) int {
	live, ok := modes[mode]
	if !ok {
		fmt.Fprintf(os.Stderr, "bench child: no mode %q\n", mode)
		return 2
	}
	if err := live(args); err != nil {
		fmt.Fprintf(os.Stderr, "bench child %s: %v\n", mode, err)
		return 1
	}
	return 0
}

// number is argument i.
func number(args []string, i int) (int, error) {
	if i >= len(args) {
		return 0, fmt.Errorf("argument %d is missing", i+1)
	}
	return strconv.Atoi(args[i])
}
