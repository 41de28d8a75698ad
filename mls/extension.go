package mls

import "fmt"

// An ExtensionType is the type of an extension (RFC 9420 s17.3).
type ExtensionType uint16

// The extension types that a server has to tell apart.
const (
	// ExtensionApplicationID to ExtensionExternalSenders are the default types,
	// which need not be listed in capabilities (RFC 9420 s7.2).
	ExtensionApplicationID        ExtensionType = 1
	ExtensionRatchetTree          ExtensionType = 2
	ExtensionRequiredCapabilities ExtensionType = 3
	ExtensionExternalPub          ExtensionType = 4
	ExtensionExternalSenders      ExtensionType = 5

	// ExtensionAppDataDictionary is the suggested number of app_data_dictionary
	// (draft-ietf-mls-extensions).
	ExtensionAppDataDictionary ExtensionType = 0x0006
	// ExtensionLastResort is last_resort as draft-ietf-mls-extensions-04 and -05
	// had it, and as OpenMLS and mls-rs write it.
	ExtensionLastResort ExtensionType = 0x000a
)

func (t ExtensionType) isDefault() bool {
	return ExtensionApplicationID <= t && t <= ExtensionExternalSenders
}

// String returns the type in hexadecimal ("0x000a").
func (t ExtensionType) String() string { return fmt.Sprintf("0x%04x", uint16(t)) }

// An Extension is an entry of an extension list (RFC 9420 s7.2).
type Extension struct {
	Type ExtensionType
	Data []byte
}

// mostExtensions is more than there are types in use, each of which stands once.
const mostExtensions = 256

// extensions reads a list of
//
//	struct {
//	    ExtensionType extension_type;
//	    opaque extension_data<V>;
//	} Extension;
func (d *decoder) extensions(field string) (list []Extension) {
	d.few(field, mostExtensions, func(d *decoder) {
		list = append(list, Extension{
			Type: ExtensionType(d.uint16("extension_type")),
			Data: d.vector("extension_data"),
		})
	})
	return list
}

// duplicateExtension returns a type that occurs twice in list.
func duplicateExtension(list []Extension) (ExtensionType, bool) {
	seen := make(map[ExtensionType]bool, len(list))
	for _, e := range list {
		if seen[e.Type] {
			return e.Type, true
		}
		seen[e.Type] = true
	}
	return 0, false
}

// marksLastResort reports whether e says that its KeyPackage is one of last
// resort, in either of the encodings that are in use.
func (e Extension) marksLastResort() bool {
	switch e.Type {
	case ExtensionLastResort:
		return len(e.Data) == 0
	case ExtensionAppDataDictionary:
		return hasLastResortComponent(e.Data)
	}
	return false
}

// componentLastResort is last_resort_key_package (draft-ietf-mls-extensions-06
// and later).
const componentLastResort = 0x0004

// hasLastResortComponent looks in an app_data_dictionary for an empty
// last_resort_key_package. ComponentID is uint16 since -09 of the draft; it was
// uint32 before, which cannot be read as a list with uint16 where this marker is
// the only entry.
func hasLastResortComponent(dictionary []byte) bool {
	short, ok := readLastResort(dictionary, func(d *decoder) uint32 { return uint32(d.uint16("component_id")) })
	if ok {
		return short
	}
	long, ok := readLastResort(dictionary, func(d *decoder) uint32 { return d.uint32("component_id") })
	return ok && long
}

// readLastResort reads
//
//	struct {
//	    ComponentID component_id;
//	    opaque data<V>;
//	} ComponentData;
//
//	struct {
//	    ComponentData component_data<V>;
//	} AppDataDictionary;
//
// with component ids as readID reads them; ok is false if that fails.
func readLastResort(dictionary []byte, readID func(*decoder) uint32) (found, ok bool) {
	d := decoder{rest: dictionary}
	d.each("component_data", func(d *decoder) {
		id, data := readID(d), d.vector("data")
		found = found || id == componentLastResort && len(data) == 0
	})
	ok = d.finish("AppDataDictionary") == nil
	return found && ok, ok
}
