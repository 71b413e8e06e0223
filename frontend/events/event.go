package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Event is something that happened.
type Event struct {
	Number  uint64 // from 1 up
	Time    time.Time
	Kind    Kind
	Service string // "": it is about the guard as a whole
	Details []Detail
}

// Detail is a detail of an event. encoding/json must accept its value; for people, the value has a String method or is
// plain.
type Detail struct {
	Key   string
	Value any
}

// details makes pairs of key and value. Errors and durations become text and seconds.
func details(pairs []any) (list []Detail) {
	for i := 0; i+1 < len(pairs); i += 2 {
		v := pairs[i+1]
		switch x := v.(type) {
		case error:
			v = x.Error()
		case time.Duration:
			v = x.Seconds()
		case json.Marshaler:
		case fmt.Stringer:
			v = x.String()
		}
		list = append(list, Detail{pairs[i].(string), v})
	}
	return list
}

// MarshalJSON writes one flat object.
func (e Event) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	put := func(key string, v any) error {
		text, err := json.Marshal(v)
		if err == nil {
			fmt.Fprintf(&b, ",%q:%s", key, text)
		}
		return err
	}
	fmt.Fprintf(&b, `{"number":%d`, e.Number)
	all := append([]Detail{{"time", e.Time.UTC().Format(time.RFC3339Nano)}, {"event", e.Kind.String()}}, e.Details...)
	if e.Service != "" {
		all = append(all[:2:2], append([]Detail{{"service", e.Service}}, all[2:]...)...)
	}
	for _, d := range all {
		if err := put(d.Key, d.Value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// Environment is the event as variables of a command: DTLSGUARD_EVENT, DTLSGUARD_TIME, DTLSGUARD_SERVICE, and one for each detail.
func (e *Event) Environment() []string {
	env := []string{"DTLSGUARD_EVENT=" + e.Kind.String(), "DTLSGUARD_TIME=" + e.Time.UTC().Format(time.RFC3339), "DTLSGUARD_SERVICE=" + clean(e.Service)}
	for _, d := range e.Details {
		env = append(env, "DTLSGUARD_"+strings.ToUpper(d.Key)+"="+clean(printed(d.Value)))
	}
	return env
}

// longest bounds a value for a command: all variables together must fit beside its arguments (execve(2)).
const longest = 4096

// clean removes what ends a variable or a line.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > longest {
		s = s[:longest]
	}
	return s
}

// printed formats a value for people.
func printed(v any) string {
	if f, ok := v.(float64); ok {
		return fmt.Sprintf("%.6g", f)
	}
	return fmt.Sprint(v)
}
