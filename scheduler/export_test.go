package scheduler

import "fmt"

// CheckShortcuts goes the long way wherever a step skips peers because nothing can come of them.
func (m *Machine) CheckShortcuts() error {
	for _, s := range m.order {
		for _, p := range s.sorted {
			switch {
			case s.toldJoins == s.joins && !p.seeder() && p.toldUpTo < s.joins:
				return fmt.Errorf("%q was not told of all %d joins", p.id, s.joins)
			case !s.proven && p.count > s.mostHeld:
				return fmt.Errorf("%q has %d chunks, more than the %d that any has", p.id, p.count, s.mostHeld)
			case !s.proven && p.barren == s.wants:
				for i := range s.n {
					if s.wanted.Has(i) && s.besideLine(p, i) {
						return fmt.Errorf("%q has chunk %d, and is passed over", p.id, i)
					}
				}
			}
		}
	}
	return nil
}
