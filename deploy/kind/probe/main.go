// probe is all of a test pod: a server that says its name, and a client that tells apart how a connection fails.
//
// That a connection opens proves nothing: a middlebox may accept it for an address where nobody is. A target therefore
// counts as connected only when it has spoken as what it should be.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

const usage = `usage:
  probe serve PORT...                 on every port, send this pod's name to the caller
  probe dial [-wait 2s] TARGET...     try every target once, all at the same time; prints one JSON object for each
  probe pause                         do nothing until SIGTERM

targets:
  HOST:PORT              a probe that serves
  http://HOST:PORT/PATH  any HTTP server; "who" is the status and the first line of the body
  grpc://HOST:PORT       a Triton (KServe) gRPC server; "who" is the name in ServerMetadata, or its gRPC error

fields of an answer:
  target, address (HOST looked up), outcome, who (only when connected), detail
outcomes:
  connected     the target spoke as what it should be
  dropped       no answer to the connection within the wait: what a NetworkPolicy does
  refused       nobody listens there, or a firewall that says so
  unreachable   no route to the address
  no-such-name  DNS says that there is no such name
  dns-failed    DNS did not answer
  stranger      the connection opened, but the end that answered is not the one asked for
  error         anything else, in "detail"

exit status: 0 when every target was tried, whatever came of it; 2 for wrong arguments

examples:
  probe serve 8080
  probe dial server.default:8080 http://triton:8002/metrics grpc://triton:8001
`

type answer struct {
	Target  string `json:"target"`
	Address string `json:"address,omitempty"`
	Outcome string `json:"outcome"`
	Who     string `json:"who,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

func main() {
	if len(os.Args) < 2 {
		misused("a command is missing")
	}
	switch command, words := os.Args[1], os.Args[2:]; command {
	case "serve":
		serve(words)
	case "dial":
		dialAll(words)
	case "pause":
		pause()
	case "-h", "-help", "--help", "help":
		fmt.Print(usage)
	default:
		misused(fmt.Sprintf("there is no command %q", command))
	}
}

func misused(what string) {
	fmt.Fprintf(os.Stderr, "probe: %s\n%s", what, usage)
	os.Exit(2)
}

// serve listens on every port before it accepts on the first, and says so, for a caller that waits for it.
func serve(ports []string) {
	if len(ports) == 0 {
		misused("serve needs a port")
	}
	name, _ := os.Hostname()
	for _, port := range ports {
		listener, err := net.Listen("tcp", ":"+port)
		if err != nil {
			fmt.Fprintln(os.Stderr, "probe:", err)
			os.Exit(1)
		}
		go greet(listener, greeting+name+"\n")
	}
	fmt.Println("serving as", name)
	pause()
}

func greet(listener net.Listener, line string) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			continue
		}
		go func() {
			defer connection.Close()
			connection.SetDeadline(time.Now().Add(5 * time.Second))
			connection.Write([]byte(line))
			// Closing before the other side does could take the line back with a reset.
			bufio.NewReader(connection).ReadByte()
		}()
	}
}

func dialAll(words []string) {
	flags := flag.NewFlagSet("dial", flag.ExitOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	wait := flags.Duration("wait", 2*time.Second, "")
	flags.Parse(words)
	if flags.NArg() == 0 {
		misused("dial needs a target")
	}
	answers := make([]answer, flags.NArg())
	var all sync.WaitGroup
	for i, target := range flags.Args() {
		all.Go(func() { answers[i] = dial(target, *wait) })
	}
	all.Wait()
	printer := json.NewEncoder(os.Stdout)
	printer.SetEscapeHTML(false)
	for _, one := range answers {
		printer.Encode(one)
	}
}
