// Makes one call by grpc-java: reads what it is as JSON, and writes how it ended.

import com.google.gson.Gson;
import io.grpc.CallOptions;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.TlsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

public final class Caller {
    /** What is asked for, by the names in the JSON. */
    static final class Asked {
        String address;
        String authority;
        String method;
        boolean stream;
        boolean gzip;
        int seconds;
        Map<String, String> metadata;
        List<String> messages;
    }

    /** How the call ended. */
    static final class Ended {
        int status;
        String details;
        List<String> messages = new ArrayList<>();
        Map<String, String> trailers = new TreeMap<>();
    }

    /** Messages are bytes. */
    static final class Bytes implements MethodDescriptor.Marshaller<byte[]> {
        @Override
        public InputStream stream(byte[] value) {
            return new ByteArrayInputStream(value);
        }

        @Override
        public byte[] parse(InputStream stream) {
            try {
                return stream.readAllBytes();
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
    }

    public static void main(String[] words) throws Exception {
        Gson gson = new Gson();
        Asked asked = gson.fromJson(new InputStreamReader(System.in), Asked.class);
        ChannelCredentials credentials = asked.authority == null
            ? InsecureChannelCredentials.create()
            : TlsChannelCredentials.newBuilder().trustManager(new File(asked.authority)).build();
        ManagedChannel channel = Grpc.newChannelBuilder(asked.address, credentials).build();
        Ended ended = call(channel, asked);
        channel.shutdown();
        channel.awaitTermination(asked.seconds, TimeUnit.SECONDS);
        System.out.print(gson.toJson(ended));
    }

    private static Ended call(ManagedChannel channel, Asked asked) throws InterruptedException {
        MethodDescriptor<byte[], byte[]> method = MethodDescriptor.<byte[], byte[]>newBuilder()
            .setType(asked.stream ? MethodDescriptor.MethodType.BIDI_STREAMING : MethodDescriptor.MethodType.UNARY)
            .setFullMethodName(asked.method.substring(1))
            .setRequestMarshaller(new Bytes())
            .setResponseMarshaller(new Bytes())
            .build();
        CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(asked.seconds, TimeUnit.SECONDS);
        ClientCall<byte[], byte[]> call =
            channel.newCall(method, asked.gzip ? options.withCompression("gzip") : options);
        Metadata metadata = new Metadata();
        asked.metadata.forEach((name, value) -> metadata.put(text(name), value));
        Ended ended = new Ended();
        CountDownLatch closed = new CountDownLatch(1);
        call.start(new ClientCall.Listener<byte[]>() {
            @Override
            public void onMessage(byte[] message) {
                ended.messages.add(Base64.getEncoder().encodeToString(message));
                call.request(1);
            }

            @Override
            public void onClose(Status status, Metadata trailers) {
                ended.status = status.getCode().value();
                ended.details = status.getDescription() == null ? "" : status.getDescription();
                for (String name : trailers.keys()) {
                    if (!name.endsWith(Metadata.BINARY_HEADER_SUFFIX)) {
                        ended.trailers.put(name, trailers.get(text(name)));
                    }
                }
                closed.countDown();
            }
        }, metadata);
        call.setMessageCompression(asked.gzip);
        call.request(2);
        for (String message : asked.messages) {
            call.sendMessage(Base64.getDecoder().decode(message));
        }
        call.halfClose();
        closed.await();
        return ended;
    }

    private static Metadata.Key<String> text(String name) {
        return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
    }
}
