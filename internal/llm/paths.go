// SPDX-License-Identifier: Apache-2.0

package llm

// A step is one name, or one index of an array, on the way from a document's
// root to a value. Its numbers in paths are looked up when they are first asked
// for: most values of a stream are structure, and nobody asks.
type step struct {
	name  []byte // nil for an element
	index int
	full  int32 // the path up to here, 0 for not known yet
	names int32 // its names alone, without indexes
}

// paths numbers the paths of a stream. A path is its parent's number and a
// name, so that a long name costs once and not for each value below it.
type paths struct {
	ids   map[pathKey]int32
	nodes [][]pathNode // in blocks, so that none is moved
	count int32
}

const pathBlock = 256

func (p *paths) node(id int32) *pathNode { return &p.nodes[id/pathBlock][id%pathBlock] }

// add returns the next number.
func (p *paths) add(k pathKey) int32 {
	id := p.count
	if id%pathBlock == 0 {
		n := pathBlock
		if id == 0 {
			n = 64 // most streams have few
		}
		p.nodes = append(p.nodes, make([]pathNode, 0, n))
	}
	block := &p.nodes[id/pathBlock]
	*block = append(*block, pathNode{key: k})
	p.count++
	return id
}

type pathKey struct {
	parent int32
	index  int // -1 for a name
	name   string
}

type pathNode struct {
	key  pathKey
	last int32 // the child that was asked for last; streams repeat themselves
}

// The first numbers.
const (
	_         int32 = iota
	pathRoot        // of paths
	namesRoot       // of names that stand by themselves
)

// maxPaths is how many paths are told apart.
const maxPaths = 4 * maxTexts

// child returns the number of a name or, with an index, of an element below.
func (p *paths) child(b *budget, parent int32, name []byte, index int) int32 {
	if p.nodes == nil {
		p.ids = make(map[pathKey]int32)
		for range namesRoot + 1 {
			p.add(pathKey{})
		}
	}
	if last := p.node(parent).last; last != 0 {
		if k := &p.node(last).key; k.index == index && k.name == string(name) {
			return last
		}
	}
	b.step(len(name))
	id, ok := p.ids[pathKey{parent, index, string(name)}]
	if !ok {
		if p.count == maxPaths {
			b.fail(errTooMany)
			return parent
		}
		b.take(len(name) + pathBytes)
		k := pathKey{parent, index, string(name)}
		id = p.add(k)
		p.ids[k] = id
	}
	p.node(parent).last = id
	return id
}

// full returns the number of a path.
func (p *paths) full(b *budget, path []step) int32 {
	i := len(path)
	for i > 0 && path[i-1].full == 0 {
		i--
	}
	id := pathRoot
	if i > 0 {
		id = path[i-1].full
	}
	for ; i < len(path); i++ {
		s := &path[i]
		id = p.child(b, id, s.name, s.index)
		s.full = id
	}
	return id
}

// names returns the number of a path without the indexes in it.
func (p *paths) names(b *budget, path []step) int32 {
	i := len(path)
	for i > 0 && path[i-1].names == 0 {
		i--
	}
	id := pathRoot
	if i > 0 {
		id = path[i-1].names
	}
	for ; i < len(path); i++ {
		s := &path[i]
		if s.index < 0 {
			id = p.child(b, id, s.name, -1)
		}
		s.names = id
	}
	return id
}

// push and pop keep the path while a stream is read.
func (r *reader) push(name []byte) int {
	n := len(r.path)
	if r.asm != nil {
		r.path = append(r.path, step{name: name, index: -1})
	}
	return n
}

// pushElement puts an array's element into the path: by its own index if it
// has one, since chunks hold parts of arrays.
func (r *reader) pushElement(v, position int) int {
	n := len(r.path)
	if i := r.doc.Member(v, "index"); i >= 0 {
		if n, ok := r.place(i); ok {
			position = n
		}
	}
	r.path = append(r.path, step{index: position})
	return n
}

func (r *reader) pop(n int) { r.path = r.path[:n] }

// pathIs reports whether a path is these names.
func pathIs(path []step, names ...string) bool {
	if len(path) != len(names) {
		return false
	}
	for i, name := range names {
		if string(path[i].name) != name {
			return false
		}
	}
	return true
}
