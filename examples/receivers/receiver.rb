# Receives Ringback's webhooks with nothing but Ruby 3. Run: WEBHOOK_SECRET=whsec_… PORT=3000 ruby receiver.rb
require "json"
require "openssl"
require "socket"

SECRET = ENV.fetch("WEBHOOK_SECRET", "").delete_prefix("whsec_").unpack1("m") # base64
TOLERANCE_SECONDS = 5 * 60
BODY_BYTES_MAX = 1024 * 1024

# verify: begin
def verify(headers, body)
  id = headers.fetch("webhook-id", "") # names were put into lower case
  timestamp = headers.fetch("webhook-timestamp", "")
  return false if id.empty? || !timestamp.match?(/\A[0-9]{1,12}\z/)
  return false if (Time.now.to_i - timestamp.to_i).abs > TOLERANCE_SECONDS

  expected = [OpenSSL::HMAC.digest("SHA256", SECRET, "#{id}.#{timestamp}.".b + body)].pack("m0") # base64 again
  headers.fetch("webhook-signature", "").split(" ").any? do |signature|
    # v1a, and what may come after it, is passed over
    signature.start_with?("v1,") && OpenSSL.secure_compare(signature.delete_prefix("v1,"), expected)
  end
end
# verify: end

# In earnest: a column with a unique index, written in one transaction with the work or with the entry in your queue.
SEEN = {}
SEEN_LOCK = Mutex.new

def accept(event)
  puts "#{event["type"]} #{event["data"]["taskId"]}"
end

def receive(method, headers, body)
  return 405 unless method == "POST"
  return 413 if body.nil?
  return 400 unless verify(headers, body)

  SEEN_LOCK.synchronize do
    id = headers["webhook-id"]
    accept(JSON.parse(body)) unless SEEN.key?(id)
    SEEN[id] = true
  end
  204
rescue JSON::ParserError
  500
end

# Ruby has no server of its own any more: in earnest Rack or Rails does this part (request.raw_post is the body).
def serve(client)
  method = client.gets.to_s.split(" ").first
  headers = {}
  while (line = client.gets) && line != "\r\n"
    name, value = line.chomp.split(":", 2)
    headers[name.downcase] = value.to_s.strip
  end
  length = headers.fetch("content-length", "0").to_i
  body = length > BODY_BYTES_MAX ? nil : client.read(length).to_s.b
  client.write("HTTP/1.1 #{receive(method, headers, body)} \r\nconnection: close\r\n\r\n")
ensure
  client.close
end

abort "WEBHOOK_SECRET: expected whsec_ and base64, as shown when the endpoint was made" if SECRET.bytesize < 24
$stdout.sync = true
server = TCPServer.new("127.0.0.1", Integer(ENV.fetch("PORT", "3000")))
puts "listening on #{server.addr[1]}"
loop { Thread.new(server.accept) { |client| serve(client) } }
