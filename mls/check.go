package mls

// A Check is one thing that was checked about an object.
type Check struct {
	Name string // what was checked, a few words in English
	Err  error  // nil, or the *Error that says what is wrong
}

// A rule is a check before it is made. The rules of an object are in one list,
// cheap ones first, and both Verify and Checks go through that list.
type rule[T any] struct {
	name  string
	check func(T) error
}

func verify[T any](object T, rules []rule[T]) error {
	for _, r := range rules {
		if err := r.check(object); err != nil {
			return err
		}
	}
	return nil
}

func report[T any](object T, rules []rule[T]) []Check {
	checks := make([]Check, len(rules))
	for i, r := range rules {
		checks[i] = Check{Name: r.name, Err: r.check(object)}
	}
	return checks
}
