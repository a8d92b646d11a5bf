// Command example shows the package mmclient at work on the sample model audio_level: one inference, then a stream.
//
// The address comes from MM_ADDR, the credential from where Domino puts it; `./bazelw run //:up` prints lines that set
// both.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"iter"
	"log"
	"math"
	"os"
	"os/signal"

	"multimodal/go/mmclient"
)

const rate = 16000

func main() {
	log.SetFlags(0)
	address := flag.String("addr", os.Getenv("MM_ADDR"), "the proxy, HOST:PORT; from MM_ADDR if not given")
	authorities := flag.String("ca", "", "PEM file of the proxy's authority; without it, plaintext")
	count := flag.Int("n", 20, "requests of the stream")
	window := flag.Int("window", mmclient.DefaultWindow, "most requests in flight")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *address, *authorities, *count, *window); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, address, authorities string, count, window int) error {
	credential, err := mmclient.FromEnvironment()
	if err != nil {
		return err
	}
	transport, err := transportOf(authorities)
	if err != nil {
		return err
	}
	client, err := mmclient.New(address, credential, transport)
	if err != nil {
		return err
	}
	defer client.Close()

	request, err := tone(440)
	if err != nil {
		return err
	}
	result, err := client.Infer(ctx, request)
	if err != nil {
		return err
	}
	if err := show(440, result); err != nil {
		return err
	}

	hertz := 0
	for result, err := range client.InferAll(ctx, tones(count), window) {
		if err != nil {
			return err
		}
		hertz += 100
		if result.Err != nil {
			fmt.Printf("%5d Hz: %v\n", hertz, result.Err) // this one failed; the stream goes on
		} else if err := show(hertz, result); err != nil {
			return err
		}
	}
	return nil
}

func transportOf(authorities string) (mmclient.Option, error) {
	if authorities == "" {
		return mmclient.WithPlaintext(), nil
	}
	pem, err := os.ReadFile(authorities)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New(authorities + " has no certificate; expected PEM")
	}
	return mmclient.WithTLS(&tls.Config{RootCAs: pool}), nil
}

// tones are of 100 Hz, 200 Hz and so on; each is made when the window has a place for it.
func tones(count int) iter.Seq[*mmclient.Request] {
	return func(yield func(*mmclient.Request) bool) {
		for number := range count {
			request, err := tone(100 * (number + 1))
			if err != nil || !yield(request) {
				return
			}
		}
	}
}

// tone is a second of a sine, at half of the full amplitude.
func tone(hertz int) (*mmclient.Request, error) {
	samples := make([]float32, rate)
	for i := range samples {
		samples[i] = float32(0.5 * math.Sin(2*math.Pi*float64(hertz)*float64(i)/rate))
	}
	waveform, err := mmclient.NewTensor(samples)
	if err != nil {
		return nil, err
	}
	return &mmclient.Request{
		Model:   "audio_level",
		Version: "1",
		Inputs:  map[string]mmclient.Tensor{"WAVEFORM": waveform},
		Outputs: []string{"RMS", "ZERO_CROSSINGS"},
	}, nil
}

func show(hertz int, result *mmclient.Result) error {
	rms, err := mmclient.Values[float32](result.Outputs["RMS"])
	if err != nil {
		return err
	}
	crossings, err := mmclient.Values[int32](result.Outputs["ZERO_CROSSINGS"])
	if err != nil {
		return err
	}
	fmt.Printf("%5d Hz: RMS %.3f, %d zero crossings\n", hertz, rms[0], crossings[0])
	return nil
}
