package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// readFile reads one YAML mapping of keys to values or lists of values. Nothing else
// of YAML is wanted, so aliases, tags and nested mappings are refused rather than
// interpreted. An empty name is no file, an empty file no settings.
func readFile(name string, content []byte) (layer, []error) {
	if name == "" {
		return nil, nil
	}
	if len(content) > FileMax {
		return nil, []error{&Error{Where: name, Reason: fmt.Sprintf("the file has more than the %d bytes that are allowed", FileMax)}}
	}
	root, err := parse(content)
	if err != nil {
		return nil, []error{yamlError(name, err)}
	}
	if root == nil {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, []error{&Error{Where: place(name, root), Reason: "the file must be a mapping, one KEY: VALUE a line"}}
	}
	return readMapping(name, root)
}

// parse returns the one document's root, or nil if there is none.
func parse(content []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil //nolint:nilnil // an empty file has neither a root nor a fault
	case err != nil:
		return nil, err
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, &secondDocumentError{line: second.Line}
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	if len(document.Content) == 0 {
		return nil, nil //nolint:nilnil // an empty document has neither a root nor a fault
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil, nil //nolint:nilnil // a file of comments has neither a root nor a fault
	}
	return root, nil
}

func readMapping(name string, root *yaml.Node) (layer, []error) {
	l, known := layer{}, schema()
	firstLine := map[string]int{}
	var errs []error
	for i := 0; i+1 < len(root.Content) && len(errs) < errorsMax; i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		where := place(name, k)
		if k.Kind != yaml.ScalarNode || len(k.Value) > valueMax {
			errs = append(errs, &Error{Where: where, Reason: "a key must be the name of a setting"})
			continue
		}
		s, ok := known[k.Value]
		if !ok {
			errs = append(errs, &Error{Where: where, Key: k.Value, Reason: unknown("key", k.Value, slices.Collect(maps.Keys(known)))})
			continue
		}
		if line, twice := firstLine[s.Key]; twice {
			errs = append(errs, &Error{Where: where, Key: s.Key, Reason: fmt.Sprintf("the key is already in line %d", line)})
			continue
		}
		firstLine[s.Key] = k.Line
		values, err := readValues(s, v)
		if err == nil {
			err = checkShape(s, values)
		}
		if err != nil {
			errs = append(errs, &Error{Where: where, Key: s.Key, Reason: err.Error()})
			continue
		}
		l[s.Key] = given{values: values, where: where, name: s.Key}
	}
	return l, errs
}

func readValues(s Setting, n *yaml.Node) ([]string, error) {
	if s.Kind != List {
		v, err := readScalar(n)
		if err != nil {
			return nil, err
		}
		return []string{v}, nil
	}
	if n.Kind != yaml.SequenceNode {
		return nil, errors.New("takes a list, one \"- VALUE\" a line")
	}
	values := make([]string, 0, min(len(n.Content), listMax))
	for _, element := range n.Content {
		v, err := readScalar(element)
		if err != nil {
			return nil, fmt.Errorf("value in line %d: %w", element.Line, err)
		}
		values = append(values, v)
	}
	return values, nil
}

// readScalar returns the value as it is written, whatever type YAML would give it:
// each setting reads its own text.
func readScalar(n *yaml.Node) (string, error) {
	switch {
	case n.Kind == yaml.AliasNode:
		return "", errors.New("YAML aliases are not supported; write the value out")
	case n.Kind != yaml.ScalarNode:
		return "", errors.New("takes a single value")
	}
	switch n.ShortTag() {
	case "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
		return n.Value, nil
	case "!!null":
		return "", errors.New("has no value; leave the line out for the default, or write \"\" for none")
	default:
		return "", errors.New("YAML tags are not supported; write plain text")
	}
}

// A secondDocumentError reports that a file goes on after its document.
type secondDocumentError struct{ line int }

func (e *secondDocumentError) Error() string {
	return "there must be only one document in the file"
}

func place(name string, n *yaml.Node) string { return name + ":" + strconv.Itoa(max(n.Line, 1)) }

// yamlError gives the parser's complaint the form of ours: it begins with "yaml: line 3: ".
func yamlError(name string, err error) *Error {
	if second, ok := errors.AsType[*secondDocumentError](err); ok {
		return &Error{Where: name + ":" + strconv.Itoa(max(second.line, 1)), Reason: second.Error()}
	}
	parts := regexp.MustCompile(`(?s)^yaml: (?:line ([0-9]+): )?(.*)$`).FindStringSubmatch(err.Error())
	switch {
	case parts == nil:
		return &Error{Where: name, Reason: err.Error()}
	case parts[1] == "":
		return &Error{Where: name, Reason: "not YAML: " + parts[2]}
	default:
		return &Error{Where: name + ":" + parts[1], Reason: "not YAML: " + parts[2]}
	}
}
