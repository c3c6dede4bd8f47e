// Package jsondepth bounds how deeply JSON from elsewhere is nested, before anything recursive
// reads it.
package jsondepth

// Exceeds reports whether objects and lists in text are nested deeper than most. It counts
// brackets outside strings and leaves the rest of the grammar to encoding/json.
func Exceeds(text []byte, most int) bool {
	depth, quoted, escaped := 0, false, false
	for _, c := range text {
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = c == '\\', c != '"'
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			if depth++; depth > most {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
