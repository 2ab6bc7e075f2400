package kernelviz

// Fact describes one name that checks of lessons may use: what its value is
// and where it comes from. The reference page docs/facts.md is made of these.
type Fact struct {
	Name string   // dotted, begins with its publisher: "epoll.black_height"; of a Field just "fd"
	Type FactType // of the value in Facts
	Doc  string   // one English sentence, with the unit
	// Fields are those of the elements of a FactList, whose value is
	// []map[string]any; nil for all other types.
	Fields []Fact
}

// FactType is the Go type that a fact's value has.
type FactType string

// The types of facts.
const (
	FactBool    FactType = "bool"
	FactInt     FactType = "int"
	FactFloat   FactType = "float"   // float64
	FactString  FactType = "string"  //
	FactInts    FactType = "ints"    // []int
	FactStrings FactType = "strings" // []string
	FactList    FactType = "list"    // []map[string]any
)
