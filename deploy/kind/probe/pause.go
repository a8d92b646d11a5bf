package main

import (
	"os"
	"os/signal"
	"syscall"
)

// pause holds a pod's namespaces open until it is asked to go.
func pause() {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGINT, syscall.SIGTERM)
	<-asked
}
