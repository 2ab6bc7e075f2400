package sandbox

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Pair is two network namespaces with a veth pair between them. Packets cross
// it as they cross a wire, through both namespaces' device queues, instead of
// being handed over as on loopback.
type Pair struct {
	Sides [2]*Network
}

// vethName is the name of both ends, each in its own namespace.
const vethName = "veth0"

// PairAddress is the IPv4 address of a side, in a /24 that both share.
func PairAddress(side int) net.IP { return net.IPv4(10, 77, 0, byte(side+1)) }

// NewPair makes one: veth0 with 10.77.0.1 on side 0 and 10.77.0.2 on side 1,
// and loopback, all up. It needs CAP_NET_ADMIN and CAP_SYS_ADMIN, and the
// kernel's driver veth. The caller closes it.
func NewPair() (*Pair, error) {
	p := &Pair{}
	for i := range p.Sides {
		n, err := NewNetwork()
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.Sides[i] = n
	}
	if err := p.wire(); err != nil {
		return nil, errors.Join(fmt.Errorf("making a veth pair between two network namespaces: %w", err), p.Close())
	}
	return p, nil
}

// Close gives both namespaces back; the pair goes with the last child in them.
func (p *Pair) Close() error {
	var errs []error
	for _, n := range p.Sides {
		if n != nil {
			errs = append(errs, n.Close())
		}
	}
	return errors.Join(errs...)
}

// wire makes the pair in side 0, with its peer in side 1, and sets both up.
func (p *Pair) wire() error {
	err := p.Sides[0].inside(func() error {
		link := netlink.NewLinkAttrs()
		link.Name = vethName
		err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: link, PeerName: vethName, PeerNamespace: netlink.NsFd(p.Sides[1].fd),
		})
		switch {
		case errors.Is(err, unix.EOPNOTSUPP):
			return fmt.Errorf("adding it: %w: this kernel has no driver veth; try modprobe veth", err)
		case errors.Is(err, unix.EPERM):
			return fmt.Errorf("adding it: %w: it needs CAP_NET_ADMIN; run as root", err)
		case err != nil:
			return fmt.Errorf("adding it: %w", err)
		}
		return address(0)
	})
	if err != nil {
		return err
	}
	return p.Sides[1].inside(func() error { return address(1) })
}

// address gives this namespace's end its address and sets it up.
func address(side int) error {
	link, err := netlink.LinkByName(vethName)
	if err != nil {
		return fmt.Errorf("finding %s on side %d: %w", vethName, side, err)
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: PairAddress(side), Mask: net.CIDRMask(24, 32)}}
	if err := netlink.AddrAdd(link, a); err != nil {
		return fmt.Errorf("giving %s on side %d its address: %w", vethName, side, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting %s on side %d up: %w", vethName, side, err)
	}
	return nil
}

// inside runs f on a thread in the namespace.
func (n *Network) inside(f func() error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fd < 0 {
		return errors.New("the network namespace has been closed")
	}
	result := make(chan error)
	apart(func() {
		if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("entering the network namespace: %w", err)
			return
		}
		result <- f()
	})
	return <-result
}
