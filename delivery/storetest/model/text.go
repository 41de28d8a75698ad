package model

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// text writes a value out so that two answers can be compared and a difference
// be read: nothing and empty are the same, fields that are empty are left out,
// refs, ids and bytes are shortened.
func text(v any) string {
	var b strings.Builder
	write(&b, reflect.ValueOf(v))
	return b.String()
}

func write(b *strings.Builder, v reflect.Value) {
	if !v.IsValid() {
		b.WriteString("-")
		return
	}
	if writeKnown(b, v) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		write(b, v.Elem())
	case reflect.Struct:
		writeStruct(b, v)
	case reflect.Slice, reflect.Array:
		b.WriteString("[")
		for i := range v.Len() {
			write(b, v.Index(i))
			b.WriteString(" ")
		}
		b.WriteString("]")
	case reflect.Map:
		writeMap(b, v)
	default:
		fmt.Fprint(b, v)
	}
}

// writeKnown writes what has a short form of its own.
func writeKnown(b *strings.Builder, v reflect.Value) bool {
	if !v.CanInterface() {
		return false
	}
	switch known := v.Interface().(type) {
	case time.Time:
		b.WriteString(known.UTC().Format("2006-01-02T15:04:05.999"))
	case mls.KeyPackageRef:
		fmt.Fprintf(b, "%.6s", known.String())
	case mls.CipherSuite:
		fmt.Fprintf(b, "%d", uint16(known))
	case delivery.Digest:
		fmt.Fprintf(b, "%.3x", known[:])
	case []byte:
		sum := sha256.Sum256(known)
		fmt.Fprintf(b, "%d:%x", len(known), sum[:3])
	case fmt.Stringer:
		if v.Kind() != reflect.Array {
			return false
		}
		fmt.Fprintf(b, "%.6s", known)
	default:
		return false
	}
	return true
}

func writeStruct(b *strings.Builder, v reflect.Value) {
	b.WriteString("{")
	for i := range v.NumField() {
		f := v.Type().Field(i)
		empty := v.Field(i).IsZero() || f.Type.Kind() == reflect.Slice && v.Field(i).Len() == 0
		if f.IsExported() && !empty {
			b.WriteString(f.Name + ":")
			write(b, v.Field(i))
			b.WriteString(" ")
		}
	}
	b.WriteString("}")
}

func writeMap(b *strings.Builder, v reflect.Value) {
	lines := make([]string, 0, v.Len())
	for _, key := range v.MapKeys() {
		lines = append(lines, text(key.Interface())+":"+text(v.MapIndex(key).Interface()))
	}
	slices.Sort(lines)
	fmt.Fprint(b, lines)
}
