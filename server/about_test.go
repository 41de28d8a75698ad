package server_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/server"
)

// unsaid are the limits that GET /v1 does not tell among limits, with the reason.
var unsaid = map[string]string{
	"CipherSuites":       "cipher_suites has them",
	"MatchReserved":      "match says it",
	"TombstoneKept":      "no client notices its end",
	"TombstoneKeptMost":  "no client notices its end",
	"ReservationOverdue": "it is for operators",
	"HoldOverdue":        "it is for operators",
	"Connections":        "all clients share it",
	"Requests":           "all clients share it",
	"Waits":              "all clients share it",
	"HintsPerChannel":    "no client notices its end",
}

// TestEveryLimitIsTold: each limit of the store and each cap is a number of its own, and
// GET /v1 has it.
func TestEveryLimitIsTold(t *testing.T) {
	limits, caps := delivery.DefaultLimits(), server.DefaultCaps()
	numbers, number := make(map[string]int), 1000
	for _, v := range []reflect.Value{reflect.ValueOf(&limits).Elem(), reflect.ValueOf(&caps).Elem()} {
		for i := range v.NumField() {
			name, field := v.Type().Field(i).Name, v.Field(i)
			if _, ok := unsaid[name]; ok {
				continue
			}
			number++
			numbers[name] = number
			switch field.Interface().(type) {
			case time.Duration:
				field.SetInt(int64(number) * int64(time.Second))
			default:
				field.SetInt(int64(number))
			}
		}
	}
	store, err := bolt.Open(t.TempDir()+"/welcomed.db", bolt.Options{Limits: limits, Clock: stillClock{}})
	must(t, err)
	t.Cleanup(func() { store.Close() })
	s := start(t, func(o *server.Options) { o.Store, o.Limits, o.Caps = store, limits, caps })
	var told []string
	for name, value := range s.call("GET", "/v1", nil).want(200).at("limits").(map[string]any) {
		told = append(told, fmt.Sprint(value))
		if fmt.Sprint(value) == "0" {
			t.Errorf("%s is 0", name)
		}
	}
	for name, number := range numbers {
		if !slices.Contains(told, fmt.Sprint(number)) {
			t.Errorf("GET /v1 does not tell %s", name)
		}
	}
}
