package lab

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

//go:embed template
var templates embed.FS

// Template writes a lab that passes into a labs folder and returns its
// directory. The name is MODULE/LAB: folders as they are to be called
// (010-epoll/045-mine), or without their numbers for a module that is there and
// a lab at its end (epoll/mine).
func Template(dir, name string) (string, error) {
	module, lab, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(lab, "/") {
		return "", fmt.Errorf("name %q: want MODULE/LAB, for example 010-epoll/045-mine", name)
	}
	module, isNew, err := findFolder(dir, module)
	if err != nil {
		return "", err
	}
	moduleID := module[4:]
	if isNew {
		if err := writeTemplate("module.yaml", filepath.Join(dir, module), strings.NewReplacer("ID", moduleID)); err != nil {
			return "", err
		}
	} else if id, err := moduleIDOf(filepath.Join(dir, module, "module.yaml")); err != nil {
		return "", err
	} else if id != "" {
		moduleID = id
	}
	lab, err = newFolder(filepath.Join(dir, module), lab)
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, module, lab)
	id := moduleID + "-" + lab[4:]
	if !idPattern.MatchString(id) {
		return "", fmt.Errorf("id %q is too long; choose a shorter name", id)
	}
	if err := os.Mkdir(out, 0o755); err != nil {
		return "", err
	}
	title := strings.ToUpper(lab[4:5]) + strings.ReplaceAll(lab[5:], "-", " ")
	words := strings.NewReplacer("ID", id, "TITLE", title)
	for _, file := range []string{"lab.yaml", "lesson.en.md", "lesson.zh.md"} {
		if err := writeTemplate(file, out, words); err != nil {
			return "", err
		}
	}
	return out, stamp(filepath.Join(out, "lesson.en.md"), filepath.Join(out, "lesson.zh.md"))
}

// findFolder finds the folder of a module by its name or its id. A name with a
// number that is not there is a new one.
func findFolder(dir, name string) (folder string, isNew bool, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", false, err
	}
	for _, e := range entries {
		if !e.IsDir() || !dirPattern.MatchString(e.Name()) {
			continue
		}
		if e.Name() == name || e.Name()[4:] == name {
			return e.Name(), false, nil
		}
	}
	if !dirPattern.MatchString(name) {
		return "", false, fmt.Errorf("there is no module %q in %s; to make one, give it a number: 060-%s", name, dir, name)
	}
	return name, true, nil
}

var idLine = regexp.MustCompile(`(?m)^id:\s*"?([a-z0-9-]+)"?\s*(?:#.*)?$`)

func moduleIDOf(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if m := idLine.FindSubmatch(b); m != nil {
		return string(m[1]), nil
	}
	return "", nil
}

// newFolder is the name of a lab's folder, with a number after all others if it
// has none.
func newFolder(module, name string) (string, error) {
	entries, err := os.ReadDir(module)
	if err != nil {
		return "", err
	}
	last := 0
	for _, e := range entries {
		if !dirPattern.MatchString(e.Name()) {
			continue
		}
		if e.Name() == name || e.Name()[4:] == name {
			return "", fmt.Errorf("there is a lab %s already", filepath.Join(module, e.Name()))
		}
		if n, err := strconv.Atoi(e.Name()[:3]); err == nil {
			last = max(last, n)
		}
	}
	if dirPattern.MatchString(name) {
		return name, nil
	}
	if !idPattern.MatchString(name) {
		return "", fmt.Errorf("name %q: want letters a-z, digits and hyphens", name)
	}
	if last > 989 {
		return "", errors.New("the module has no number left; give the lab one: 045-" + name)
	}
	return fmt.Sprintf("%03d-%s", last/10*10+10, name), nil
}

// writeTemplate writes one file of the template.
func writeTemplate(file, dir string, words *strings.Replacer) error {
	b, err := templates.ReadFile("template/" + file)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = words.WriteString(f, string(b))
	return errors.Join(err, f.Close())
}
