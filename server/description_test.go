package server_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/server"
	"welcomed/server/openapi"
)

// described is the description of the API.
var described = func() (d object) {
	if err := json.Unmarshal(openapi.JSON(), &d); err != nil {
		panic(err)
	}
	return d
}()

// described follows a $ref, if there is one.
func resolved(v any) object {
	o, _ := v.(map[string]any)
	ref, ok := o["$ref"].(string)
	if !ok {
		return o
	}
	target := any(map[string]any(described))
	for _, step := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		target = target.(map[string]any)[step]
	}
	return resolved(target)
}

// methods are the operations of a path.
var methods = []string{"get", "put", "post", "delete"}

// operations are all operations, by "METHOD path".
func operations() map[string]object {
	all := make(map[string]object)
	for path, item := range described["paths"].(map[string]any) {
		for _, method := range methods {
			if o, ok := item.(map[string]any)[method].(map[string]any); ok {
				all[strings.ToUpper(method)+" "+path] = o
			}
		}
	}
	return all
}

// parameters are those of an operation and of its path.
func parameters(route string) (list []object) {
	method, path, _ := strings.Cut(route, " ")
	item := object(described.at("paths", path).(map[string]any))
	for _, of := range []object{item, item.at(strings.ToLower(method)).(map[string]any)} {
		parameters, _ := of["parameters"].([]any)
		for _, p := range parameters {
			list = append(list, resolved(p))
		}
	}
	return list
}

func TestEachRouteIsDescribed(t *testing.T) {
	operations, ids := operations(), make(map[string]bool)
	for _, r := range server.RoutesFacts() {
		name := r.Method + " " + r.Path
		o, ok := operations[name]
		if !ok {
			t.Errorf("%s is not described", name)
			continue
		}
		delete(operations, name)
		if ids[o.text("operationId")] || o.text("summary") == "" {
			t.Errorf("%s has no operationId of its own, or no summary", name)
		}
		ids[o.text("operationId")] = true
		same(t, name+": x-caller", o.text("x-caller"), r.Caller)
		_, open := o["security"]
		same(t, name+": needs no token", open, r.Caller == "anyone")
		same(t, name+": has a body", o["requestBody"] != nil, r.Body)
		var query, path []string
		for _, p := range parameters(name) {
			switch is := p.text("name"); {
			case p.text("in") == "path":
				path = append(path, is)
			case p.text("in") == "query" && p["explode"] == true:
				query = append(query, is+"*")
			case p.text("in") == "query":
				query = append(query, is)
			}
			if p.text("description") == "" || p["example"] == nil {
				t.Errorf("%s: %s has no description or no example", name, p.text("name"))
			}
		}
		slices.Sort(query)
		slices.Sort(r.Query)
		same(t, name+": query", words(query), words(r.Query))
		for _, p := range path {
			same(t, name+" has "+p, strings.Contains(r.Path, "{"+p+"}"), true)
		}
		same(t, name+": parameters of the path", len(path), strings.Count(r.Path, "{"))
	}
	for name := range operations {
		t.Errorf("%s is described, and there is no such route", name)
	}
}

// strings of a list.
func texts(list any) (texts []string) {
	values, _ := list.([]any)
	for _, v := range values {
		texts = append(texts, v.(string))
	}
	return texts
}

// TestEachCodeIsDescribed: with the status that it has, in a response of some operation,
// and in the lists of all.
func TestEachCodeIsDescribed(t *testing.T) {
	statuses := make(map[string]int)
	for _, k := range server.ProblemKinds() {
		statuses[k.Code] = k.Status
	}
	said := make(map[string]bool)
	say := func(where, status string, response object) {
		for _, code := range texts(response["x-codes"]) {
			said[code] = true
			if strconv.Itoa(statuses[code]) != status {
				t.Errorf("%s: %s is of %d, not of %s", where, code, statuses[code], status)
			}
		}
		if (response["x-codes"] != nil) != (status >= "400") {
			t.Errorf("%s: %s has codes, or has none", where, status)
		}
	}
	for name, o := range operations() {
		for status, response := range o.at("responses").(map[string]any) {
			say(name, status, resolved(response))
		}
	}
	say("a method that a path does not have", "405", described.at("components", "responses", "MethodNotAllowed").(map[string]any))

	ofProblems := texts(described.at("components", "schemas", "Code", "enum"))
	same(t, "codes of problems", words(ofProblems), words(slices.Sorted(maps.Keys(said))))
	ofKeyPackages := texts(described.at("components", "schemas", "KeyPackageCode", "enum"))
	for code := range statuses {
		if !said[code] && !slices.Contains(ofKeyPackages, code) {
			t.Errorf("%s is not described", code)
		}
	}
	of := map[mls.Code]bool{mls.CodeNoRecipients: true, mls.CodeBadNewMember: true, mls.CodeDuplicateRecipient: true, mls.CodeBadKEMOutput: true,
		mls.CodeBadGroupSecrets: true, mls.CodeBadGroupInfo: true}
	for code := range itemCodes {
		if ofWelcomes := of[mls.Code(code)]; slices.Contains(ofKeyPackages, code) == ofWelcomes {
			t.Errorf("%s as the code of a KeyPackage: described or not, it should be otherwise", code)
		}
	}
	same(t, "codes of KeyPackages", len(ofKeyPackages), len(itemCodes)-len(of))
}

func TestTheDescriptionHasTheWordsOfTheDomain(t *testing.T) {
	schema := func(path ...any) object {
		return resolved(described.at(append([]any{"components", "schemas"}, path...)...))
	}
	same(t, "identifiers", words(schema("Identifier").at("pattern"), schema("Identifier").at("maxLength")), words(delivery.IdentifierPattern, delivery.MaxIdentifier))
	list := func(values ...any) string {
		slices.SortFunc(values, func(a, b any) int { return strings.Compare(words(a), words(b)) })
		return words(slices.Compact(values)...)
	}
	for what, pair := range map[string][2]string{
		"states of a KeyPackage": {list(schema("KeyPackageStatus", "allOf", 1, "properties", "state").list("enum")...), list(anyOf(delivery.KeyPackageStates)...)},
		"statuses of a recipient": {list(schema("Recipient", "properties", "status").list("enum")...),
			list(append(anyOf(delivery.WelcomeStates), anyOf(delivery.Mismatches)...)...)},
		"reasons of a rejection": {list(schema("RejectReason").list("enum")...), list(anyOf(delivery.Reasons)...)},
		"reasons of a return":    {list(schema("GiveBackReason").list("enum")...), list(anyOf(delivery.GiveBackReasons)...)},
		"statuses of a reservation": {list(schema("Reservation", "properties", "users", "items", "properties", "devices", "items", "properties", "status").list("enum")...),
			list(anyOf(delivery.DeviceReserveStatuses)...)},
	} {
		same(t, what, pair[0], pair[1])
	}
}

// anyOf has the values as texts.
func anyOf[T any](values []T) (list []any) {
	for _, v := range values {
		list = append(list, words(v))
	}
	return list
}
