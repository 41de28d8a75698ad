package server

// Answers returns the status of every code in the table of answers.
func Answers() map[string]int {
	all := make(map[string]int, len(answers))
	for _, a := range answers {
		all[a.code] = a.status
	}
	return all
}

// QueryOf returns the query parameters of a route, a star behind those that may be
// repeated.
func QueryOf(methodAndPath string) string {
	for _, r := range routes {
		if r.method+" "+r.path == methodAndPath {
			return r.query
		}
	}
	return ""
}
