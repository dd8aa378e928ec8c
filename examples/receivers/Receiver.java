// Receives Ringback's webhooks with nothing but Java 17. Run: WEBHOOK_SECRET=whsec_… PORT=3000 java Receiver.java

import com.sun.net.httpserver.Headers;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.Base64;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.Executors;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Receiver {
  static final byte[] SECRET = Base64.getDecoder()
      .decode(System.getenv().getOrDefault("WEBHOOK_SECRET", "").replaceFirst("^whsec_", ""));
  static final long TOLERANCE_SECONDS = 5 * 60;
  static final int BODY_BYTES_MAX = 1024 * 1024;

  // verify: begin
  static boolean verify(Headers headers, byte[] body) throws GeneralSecurityException {
    String id = headers.getFirst("webhook-id"); // finds names in any case
    String timestamp = headers.getFirst("webhook-timestamp");
    String signatures = headers.getFirst("webhook-signature");
    if (id == null || id.isEmpty() || timestamp == null || signatures == null) return false;
    if (!timestamp.matches("[0-9]{1,12}")) return false;
    long age = Instant.now().getEpochSecond() - Long.parseLong(timestamp);
    if (Math.abs(age) > TOLERANCE_SECONDS) return false;
    Mac mac = Mac.getInstance("HmacSHA256");
    mac.init(new SecretKeySpec(SECRET, "HmacSHA256"));
    mac.update((id + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8));
    byte[] expected = Base64.getEncoder().encode(mac.doFinal(body));
    for (String signature : signatures.split(" ")) {
      if (!signature.startsWith("v1,")) continue; // v1a, and what may come after it
      byte[] given = signature.substring(3).getBytes(StandardCharsets.UTF_8);
      if (MessageDigest.isEqual(given, expected)) return true;
    }
    return false;
  }
  // verify: end

  // In earnest: a column with a unique index, written in one transaction with the work or with the entry in your queue.
  static final Set<String> seen = new HashSet<>();

  // Java has no JSON of its own: in earnest a library reads the body.
  static void accept(String body) {
    System.out.println(textOf(body, "type") + " " + textOf(body, "taskId"));
  }

  static String textOf(String body, String name) {
    Matcher found = Pattern.compile("\"" + name + "\":\"([^\"]*)\"").matcher(body);
    return found.find() ? found.group(1) : "";
  }

  static int receive(HttpExchange exchange) throws IOException, GeneralSecurityException {
    if (!exchange.getRequestMethod().equals("POST")) return 405;
    byte[] body = exchange.getRequestBody().readNBytes(BODY_BYTES_MAX + 1);
    if (body.length > BODY_BYTES_MAX) return 413;
    if (!verify(exchange.getRequestHeaders(), body)) return 400;
    String id = exchange.getRequestHeaders().getFirst("webhook-id");
    synchronized (seen) {
      if (!seen.contains(id)) accept(new String(body, StandardCharsets.UTF_8));
      seen.add(id);
    }
    return 204;
  }

  static void handle(HttpExchange exchange) throws IOException {
    int status = 500;
    try {
      status = receive(exchange);
    } catch (GeneralSecurityException | RuntimeException error) {
      error.printStackTrace();
    } finally {
      exchange.sendResponseHeaders(status, -1);
      exchange.close();
    }
  }

  public static void main(String[] args) throws IOException {
    if (SECRET.length < 24) {
      throw new IllegalStateException("WEBHOOK_SECRET: expected whsec_ and base64, as shown when the endpoint was made");
    }
    int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "3000"));
    HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
    server.createContext("/", Receiver::handle);
    server.setExecutor(Executors.newFixedThreadPool(8));
    server.start();
    System.out.println("listening on " + server.getAddress().getPort());
  }
}
