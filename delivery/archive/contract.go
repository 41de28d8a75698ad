package archive

import (
	"context"
	"iter"
)

// An Exporter is a store that can be written down.
type Exporter interface {
	// Export emits everything that the store holds, in the order of the format and
	// as it was at one time, and stops at the first error. The records are the
	// receiver's to keep. A slow receiver keeps nobody else waiting.
	Export(ctx context.Context, emit func(Record) error) error
}

// An Importer is a place where there is no store yet.
type Importer interface {
	// Import makes a store of lines, which are those of a Reader, in transactions
	// of bounded size. The store is there, durable and checked, when Import
	// returns nil; otherwise there is none. An error of lines is returned as it
	// is; what the lines say and cannot be is ErrBroken.
	Import(ctx context.Context, lines iter.Seq2[Line, error]) error
}
