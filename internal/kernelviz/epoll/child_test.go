package epoll

func runChild(mode string) { _ = mode }
