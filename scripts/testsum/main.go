// Command testsum reads what test runs report, shows what a person needs of it
// and adds up the tests.
//
//	go test -json ./... | go run ./scripts/testsum -counts FILE [-strict] [-allow TEXT]
//	go run ./scripts/testsum -counts FILE -vitest REPORT.json [-strict]
//	go run ./scripts/testsum -counts FILE -total
//
// Each run appends a line to FILE; -total adds the lines up. It exits with 1 if
// a test failed, or, with -strict, if one was skipped whose reason does not
// contain TEXT.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	fs := flag.NewFlagSet("testsum", flag.ContinueOnError)
	file := fs.String("counts", "", "`file` that keeps the counts of all runs")
	vitest := fs.String("vitest", "", "read a JSON `report` of Vitest instead of go test -json")
	strict := fs.Bool("strict", false, "fail if a test was skipped")
	allow := fs.String("allow", "", "with -strict, skips whose reason contains this `text` do not count as failures")
	total := fs.Bool("total", false, "print the sum of all runs")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *file == "" {
		return errors.New("-counts is missing: name the file that keeps the counts")
	}
	if *total {
		return printTotal(*file, out)
	}
	var c counts
	var err error
	if *vitest != "" {
		c, err = readVitest(*vitest, out)
	} else {
		c, err = readGo(in, out, *allow)
	}
	if err != nil {
		return err
	}
	if err := c.append(*file); err != nil {
		return err
	}
	if c.failed > 0 {
		return fmt.Errorf("%d failed", c.failed)
	}
	if *strict && c.skipped > c.allowed {
		return fmt.Errorf("%d skipped, and nothing may be skipped here", c.skipped-c.allowed)
	}
	return nil
}

// counts adds up one run.
type counts struct {
	passed, failed, skipped int
	allowed                 int // of the skipped: for a reason that is fine here
}

func (c counts) append(file string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d %d %d\n", c.passed, c.failed, c.skipped)
	return errors.Join(err, f.Close())
}

func printTotal(file string, out io.Writer) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var sum counts
	for in := bufio.NewScanner(f); in.Scan(); {
		var c counts
		if _, err := fmt.Sscanf(in.Text(), "%d %d %d", &c.passed, &c.failed, &c.skipped); err != nil {
			return fmt.Errorf("%s: %q: %w", file, in.Text(), err)
		}
		sum.passed += c.passed
		sum.failed += c.failed
		sum.skipped += c.skipped
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", sum.passed, sum.failed, sum.skipped)
	return nil
}

// event is a line of go test -json (cmd/test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build events
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

// readGo shows a line for each package, the output of tests that failed and
// the reasons of skips.
func readGo(in io.Reader, out io.Writer, allow string) (counts, error) {
	var c counts
	output := map[string]*strings.Builder{} // by package and test
	failures := map[string]int{}            // tests failed, by package
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			return c, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return c, err
		}
		var e event
		if json.Unmarshal([]byte(line), &e) != nil {
			fmt.Fprint(out, line) // the go command's own words
			continue
		}
		key := e.Package + "\t" + e.Test
		switch e.Action {
		case "build-output":
			fmt.Fprint(out, e.Output)
		case "output":
			if output[key] == nil {
				output[key] = &strings.Builder{}
			}
			output[key].WriteString(e.Output)
		case "pass", "fail", "skip":
			text := ""
			if b := output[key]; b != nil {
				text = b.String()
			}
			delete(output, key)
			if e.Test == "" {
				if e.Action == "fail" {
					text += unfinished(output, e.Package)
				}
				c.packageDone(out, e, text, failures[e.Package])
				continue
			}
			c.testDone(out, e, text, allow)
			if e.Action == "fail" {
				failures[e.Package]++
			}
		}
	}
}

func (c *counts) testDone(out io.Writer, e event, text, allow string) {
	switch e.Action {
	case "pass":
		c.passed++
	case "fail":
		c.failed++
		fmt.Fprintf(out, "%s %s\n%s", e.Package, e.Test, text)
	case "skip":
		c.skipped++
		if allow != "" && strings.Contains(text, allow) {
			c.allowed++
		}
		fmt.Fprintf(out, "%s %s\n%s", e.Package, e.Test, text)
	}
}

// unfinished is what tests of a package printed that neither passed nor failed
// nor were skipped: the package crashed in them.
func unfinished(output map[string]*strings.Builder, pkg string) string {
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(output)) {
		if strings.HasPrefix(key, pkg+"\t") {
			text.WriteString(output[key].String())
			delete(output, key)
		}
	}
	return text.String()
}

// packageDone counts a package that failed although no test of it did: it did
// not build, or crashed outside a test.
func (c *counts) packageDone(out io.Writer, e event, text string, failedTests int) {
	switch e.Action {
	case "pass":
		fmt.Fprintf(out, "ok    %s  %.1f s\n", e.Package, e.Elapsed)
	case "fail":
		if failedTests == 0 {
			c.failed++
			fmt.Fprint(out, text)
		}
		fmt.Fprintf(out, "FAIL  %s  %.1f s\n", e.Package, e.Elapsed)
	}
}

// readVitest counts the tests of a report of vitest --reporter=json.
func readVitest(name string, out io.Writer) (counts, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return counts{}, err
	}
	var r struct {
		Success         bool
		NumPassedTests  int
		NumFailedTests  int
		NumPendingTests int
		NumTodoTests    int
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return counts{}, fmt.Errorf("%s: %w", name, err)
	}
	c := counts{passed: r.NumPassedTests, failed: r.NumFailedTests, skipped: r.NumPendingTests + r.NumTodoTests}
	if !r.Success && c.failed == 0 {
		c.failed = 1 // a file that could not be loaded has no tests
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", c.passed, c.failed, c.skipped)
	return c, nil
}
