package vmtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
)

// metaPackage depends on the newest kernel that Debian builds for virtual
// machines. Its serial port, initramfs and BTF are built in.
const metaPackage = "linux-image-cloud-amd64"

var kernelPackage = regexp.MustCompile(`linux-image-(\d[^\s]*-cloud-amd64)`)

// FetchKernel returns the path of Debian's kernel image, downloaded into
// cacheDir/ABI by apt unless it is there. Nothing is installed.
func FetchKernel(ctx context.Context, cacheDir string) (string, error) {
	if runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("fetching a kernel: %s is built for amd64, this is %s: name another with -kernel", metaPackage, runtime.GOARCH)
	}
	abi, err := resolveABI(ctx)
	if err != nil {
		return "", fmt.Errorf("fetching a kernel: %w", err)
	}
	cacheDir, err = filepath.Abs(cacheDir)
	if err != nil {
		return "", fmt.Errorf("fetching a kernel: %w", err)
	}
	dir := filepath.Join(cacheDir, abi)
	image := filepath.Join(dir, "boot", "vmlinuz-"+abi)
	if _, err := os.Stat(image); err == nil {
		return image, nil
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return "", fmt.Errorf("fetching a kernel: %w", err)
	}
	// Unpacked beside its place and renamed, so that an interrupted download is
	// not taken for a kernel.
	tmp, err := os.MkdirTemp(cacheDir, "fetch-")
	if err != nil {
		return "", fmt.Errorf("fetching a kernel: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := run(ctx, tmp, "apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", "linux-image-"+abi); err != nil {
		return "", fmt.Errorf("fetching a kernel: %w: try sudo apt-get update", err)
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil {
		return "", fmt.Errorf("fetching a kernel: %w", err)
	}
	if len(debs) != 1 {
		return "", fmt.Errorf("fetching a kernel: apt-get download left %d packages, expected one", len(debs))
	}
	if err := run(ctx, tmp, "dpkg-deb", "-x", debs[0], "root"); err != nil {
		return "", fmt.Errorf("fetching a kernel: %w", err)
	}
	if err := os.Rename(filepath.Join(tmp, "root"), dir); err != nil {
		return "", fmt.Errorf("fetching a kernel: %w", err)
	}
	if _, err := os.Stat(image); err != nil {
		return "", fmt.Errorf("fetching a kernel: linux-image-%s has no kernel image: %w", abi, err)
	}
	return image, nil
}

// resolveABI asks apt which kernel the meta package stands for today.
func resolveABI(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", metaPackage).Output()
	if err != nil {
		return "", fmt.Errorf("apt-cache depends %s: %w: this needs Debian's package archive; name another kernel with -kernel", metaPackage, err)
	}
	m := kernelPackage.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("apt does not know %s: try sudo apt-get update, or name another kernel with -kernel", metaPackage)
	}
	return string(m[1]), nil
}

func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %v: %w", name, args, err)
	}
	return nil
}
