#!/usr/bin/ruby
# A client that shares nothing with the server's tree: its message classes are written by hand from the
# protocol's description, with Beefcake, the library of the existing Ruby clients.
#
#   WARDEN_SOCKET            the server's socket (required)
#   WARDEN_OUTSIDE           an address beyond the server where tcp port 7 greets with "outside\n"; absent:
#                            tests that connect there are skipped
#   WARDEN_EXTERNAL          the server's external address, which the script can connect to; likewise
#   WARDEN_DISK_QUOTA        set where the server can limit disks; absent: those tests are skipped
#   WARDEN_JOB_OUTPUT_LIMIT  the server's job_output_limit in bytes, where it is small enough to be
#                            exceeded in a test; absent: that test is skipped
#
# Prints TAP. Exits 0 when every test passed.
require 'beefcake'
require 'fileutils'
require 'socket'
require 'tmpdir'

module Protocol
  module Type
    Error = 1
    Create = 11
    Stop = 12
    Destroy = 13
    Info = 14
    Spawn = 21
    Link = 22
    Run = 23
    Stream = 24
    NetIn = 31
    NetOut = 32
    CopyIn = 41
    CopyOut = 42
    LimitMemory = 51
    LimitDisk = 52
    LimitBandwidth = 53
    LimitCpu = 54
    Ping = 91
    List = 92
    Echo = 93
  end

  class Envelope
    include Beefcake::Message
    required :type, Type, 1
    required :payload, :string, 2
  end

  class ErrorResponse
    include Beefcake::Message
    optional :message, :string, 2
    repeated :backtrace, :string, 3
    optional :data, :string, 4
  end

  class ResourceLimits
    include Beefcake::Message
    optional :as, :uint64, 1
    optional :core, :uint64, 2
    optional :cpu, :uint64, 3
    optional :data, :uint64, 4
    optional :fsize, :uint64, 5
    optional :locks, :uint64, 6
    optional :memlock, :uint64, 7
    optional :msgqueue, :uint64, 8
    optional :nice, :uint64, 9
    optional :nofile, :uint64, 10
    optional :nproc, :uint64, 11
    optional :rss, :uint64, 12
    optional :rtprio, :uint64, 13
    optional :sigpending, :uint64, 14
    optional :stack, :uint64, 15
  end

  class Nothing
    include Beefcake::Message
  end

  class CreateRequest
    include Beefcake::Message
    optional :grace_time, :uint32, 2
    optional :handle, :string, 3
    optional :network, :string, 4
    optional :rootfs, :string, 5
  end

  class CreateResponse
    include Beefcake::Message
    required :handle, :string, 1
  end

  class HandleRequest
    include Beefcake::Message
    required :handle, :string, 1
  end

  class StopRequest
    include Beefcake::Message
    required :handle, :string, 1
    optional :background, :bool, 10
    optional :kill, :bool, 20
  end

  class InfoResponse
    class MemoryStat
      include Beefcake::Message
      optional :cache, :uint64, 1
      optional :rss, :uint64, 2
      optional :hierarchical_memory_limit, :uint64, 14
      optional :total_rss, :uint64, 17
    end
    class CpuStat
      include Beefcake::Message
      optional :usage, :uint64, 1
      optional :user, :uint64, 2
      optional :system, :uint64, 3
    end
    class DiskStat
      include Beefcake::Message
      optional :bytes_used, :uint64, 1
      optional :inodes_used, :uint64, 2
    end
    class BandwidthStat
      include Beefcake::Message
      optional :in_rate, :uint64, 1
      optional :in_burst, :uint64, 2
      optional :out_rate, :uint64, 3
      optional :out_burst, :uint64, 4
    end
    include Beefcake::Message
    optional :state, :string, 10
    repeated :events, :string, 20
    optional :host_ip, :string, 30
    optional :container_ip, :string, 31
    optional :container_path, :string, 32
    optional :memory_stat, MemoryStat, 40
    optional :cpu_stat, CpuStat, 41
    optional :disk_stat, DiskStat, 42
    optional :bandwidth_stat, BandwidthStat, 43
    repeated :job_ids, :uint64, 44
  end

  class SpawnRequest
    include Beefcake::Message
    required :handle, :string, 1
    required :script, :string, 2
    optional :privileged, :bool, 3
    optional :rlimits, ResourceLimits, 4
    optional :discard_output, :bool, 5
    optional :log_tag, :string, 6
  end

  class SpawnResponse
    include Beefcake::Message
    required :job_id, :uint32, 1
  end

  class JobRequest
    include Beefcake::Message
    required :handle, :string, 1
    required :job_id, :uint32, 2
  end

  class LinkResponse
    include Beefcake::Message
    optional :exit_status, :uint32, 1
    optional :stdout, :string, 2
    optional :stderr, :string, 3
    optional :info, InfoResponse, 4
  end

  class StreamResponse
    include Beefcake::Message
    optional :name, :string, 1
    optional :data, :string, 2
    optional :exit_status, :uint32, 3
    optional :info, InfoResponse, 4
  end

  class ListResponse
    include Beefcake::Message
    repeated :handles, :string, 1
  end

  class EchoMessage
    include Beefcake::Message
    required :message, :string, 1
  end

  class LimitMemoryRequest
    include Beefcake::Message
    required :handle, :string, 1
    optional :limit_in_bytes, :uint64, 2
  end

  class LimitMemoryResponse
    include Beefcake::Message
    optional :limit_in_bytes, :uint64, 1
  end

  class LimitCpuRequest
    include Beefcake::Message
    required :handle, :string, 1
    optional :limit_in_shares, :uint64, 2
  end

  class LimitCpuResponse
    include Beefcake::Message
    optional :limit_in_shares, :uint64, 1
  end

  class LimitBandwidthRequest
    include Beefcake::Message
    required :handle, :string, 1
    required :rate, :uint64, 2
    required :burst, :uint64, 3
  end

  class LimitBandwidthResponse
    include Beefcake::Message
    required :rate, :uint64, 1
    required :burst, :uint64, 2
  end

  DISK_FIELDS = { block_limit: 10, block: 11, block_soft: 12, block_hard: 13,
                  inode_limit: 20, inode: 21, inode_soft: 22, inode_hard: 23,
                  byte_limit: 30, byte: 31, byte_soft: 32, byte_hard: 33 }.freeze

  class LimitDiskRequest
    include Beefcake::Message
    required :handle, :string, 1
    DISK_FIELDS.each { |name, number| optional name, :uint64, number }
  end

  class LimitDiskResponse
    include Beefcake::Message
    DISK_FIELDS.each { |name, number| optional name, :uint64, number }
  end

  class NetInRequest
    include Beefcake::Message
    required :handle, :string, 1
    optional :container_port, :uint32, 2
    optional :host_port, :uint32, 3
  end

  class NetInResponse
    include Beefcake::Message
    required :host_port, :uint32, 1
    required :container_port, :uint32, 2
  end

  class CopyInRequest
    include Beefcake::Message
    required :handle, :string, 1
    required :src_path, :string, 2
    required :dst_path, :string, 3
  end

  class CopyOutRequest
    include Beefcake::Message
    required :handle, :string, 1
    required :src_path, :string, 2
    required :dst_path, :string, 3
    optional :owner, :string, 4
  end

  class NetOutRequest
    module Kind
      TCP = 0
      UDP = 1
      ICMP = 2
      ALL = 3
    end
    include Beefcake::Message
    required :handle, :string, 1
    optional :network, :string, 2
    optional :port, :uint32, 3
    optional :port_range, :string, 4
    optional :protocol, Kind, 5
    optional :icmp_type, :int32, 6
    optional :icmp_code, :int32, 7
    optional :log, :bool, 8
  end

  REQUESTS = {
    Create: CreateRequest, Stop: StopRequest, Destroy: HandleRequest, Info: HandleRequest,
    Spawn: SpawnRequest, Run: SpawnRequest, Link: JobRequest, Stream: JobRequest,
    Ping: Nothing, List: Nothing, Echo: EchoMessage, LimitMemory: LimitMemoryRequest,
    LimitCpu: LimitCpuRequest, LimitBandwidth: LimitBandwidthRequest, LimitDisk: LimitDiskRequest,
    NetIn: NetInRequest, NetOut: NetOutRequest, CopyIn: CopyInRequest, CopyOut: CopyOutRequest
  }.freeze
  RESPONSES = {
    Error: ErrorResponse, Create: CreateResponse, Stop: Nothing, Destroy: Nothing,
    Info: InfoResponse, Spawn: SpawnResponse, Run: LinkResponse, Link: LinkResponse,
    Stream: StreamResponse, Ping: Nothing, List: ListResponse, Echo: EchoMessage,
    LimitMemory: LimitMemoryResponse, LimitCpu: LimitCpuResponse,
    LimitBandwidth: LimitBandwidthResponse, LimitDisk: LimitDiskResponse,
    NetIn: NetInResponse, NetOut: Nothing, CopyIn: Nothing, CopyOut: Nothing
  }.freeze
end

class ServerError < StandardError; end

# One blocking connection.
class Client
  ANSWER_SECONDS = 40

  def initialize(path)
    @socket = UNIXSocket.new(path)
  end

  def self.frame(name, fields = {})
    payload = Protocol::REQUESTS.fetch(name).new(fields).encode.to_s
    body = Protocol::Envelope.new(type: Protocol::Type.const_get(name), payload: payload).encode.to_s
    "#{body.bytesize}\r\n".b + body + "\r\n".b
  end

  def write(bytes)
    @socket.write(bytes)
  end

  def close
    @socket.close
  end

  def send_request(name, fields = {})
    write(Client.frame(name, fields))
  end

  # The decoded response; raises ServerError for an Error.
  def receive(name)
    type, payload = receive_envelope
    if type == Protocol::Type::Error
      raise ServerError, Protocol::ErrorResponse.decode(payload).message.to_s.b
    end
    raise "answer has type #{type} instead of #{name}" if type != Protocol::Type.const_get(name)
    Protocol::RESPONSES.fetch(name).decode(payload)
  end

  def call(name, fields = {})
    send_request(name, fields)
    receive(name)
  end

  def closed_by_server?
    return false unless IO.select([@socket], nil, nil, ANSWER_SECONDS)
    @socket.read(1).nil?
  rescue Errno::ECONNRESET
    true
  end

  private

  def receive_envelope
    raise 'no answer in time' unless IO.select([@socket], nil, nil, ANSWER_SECONDS)
    line = @socket.gets("\r\n") or raise 'the server closed the connection'
    raise "not a length line: #{line.inspect}" unless line =~ /\A(0|[1-9][0-9]*)\r\n\z/
    body = @socket.read(Regexp.last_match(1).to_i)
    raise 'frame is not terminated' unless @socket.read(2) == "\r\n"
    envelope = Protocol::Envelope.decode(body)
    [envelope.type, envelope.payload.b]
  end
end

# --- a minimal TAP producer ---------------------------------------------------------------------------

$count = 0
$failures = 0

def report(ok, name, detail = nil)
  $count += 1
  $failures += 1 unless ok
  puts "#{ok ? 'ok' : 'not ok'} #{$count} - #{name}"
  detail.to_s.each_line { |line| puts "# #{line.chomp}" } unless ok
  $stdout.flush
end

def same(name, got, wanted)
  got = got.b if got.is_a?(String)
  wanted = wanted.b if wanted.is_a?(String)
  report(got == wanted, name, "got #{got.inspect}, wanted #{wanted.inspect}")
end

def refused(name, text)
  yield
  report(false, name, 'was not refused')
rescue ServerError => e
  same(name, e.message, text)
end

# A group of tests; an exception fails the group and the next goes on.
def group(name)
  yield
rescue StandardError => e
  report(false, name, "#{e.class}: #{e.message}\n#{e.backtrace.first(5).join("\n")}")
end

def skip(name, why)
  $count += 1
  puts "ok #{$count} - #{name} # SKIP #{why}"
end

# --- the tests ----------------------------------------------------------------------------------------

PATH = ENV['WARDEN_SOCKET'] or abort 'second-client-test: WARDEN_SOCKET is not set'
LIMIT = ENV['WARDEN_JOB_OUTPUT_LIMIT']&.to_i
ACTIVE_ONLY = "Container state must be one of 'active', current state is 'stopped'".freeze

$main = Client.new(PATH)

def run(handle, script, options = {})
  $main.call(:Run, options.merge(handle: handle, script: script))
end

# Runs the block with a container of its own.
def with_container(fields = {})
  handle = $main.call(:Create, fields).handle
  begin
    yield handle
  ensure
    begin
      $main.call(:Destroy, handle: handle)
    rescue ServerError => e
      raise unless e.message == 'unknown handle'
    end
  end
end

def stream(client, handle, job_id)
  client.send_request(:Stream, handle: handle, job_id: job_id)
  pieces = []
  loop do
    response = client.receive(:Stream)
    return [pieces, response] if response.exit_status
    pieces << [response.name, response.data.b]
  end
end

def output(pieces, name)
  pieces.select { |piece| piece[0] == name }.map { |piece| piece[1] }.join
end

def handles
  ($main.call(:List).handles || []).map(&:b)
end

group 'ping' do
  $main.call(:Ping)
  report(true, 'ping is answered')
end

group 'echo' do
  every_byte = (0..255).map(&:chr).join.b
  same('echo returns every byte value', $main.call(:Echo, message: every_byte).message, every_byte)
  same('echo returns the empty string', $main.call(:Echo, message: '').message, '')
  large = Random.new(1).bytes(200_000)
  same('echo returns 200,000 random bytes', $main.call(:Echo, message: large).message.b == large, true)
end

group 'pipelining' do
  client = Client.new(PATH)
  client.write((1..50).map { |i| Client.frame(:Echo, message: "number #{i}") }.join)
  got = (1..50).map { client.receive(:Echo).message }
  same('50 requests in one write are answered in order', got, (1..50).map { |i| "number #{i}" })
  client.write(Client.frame(:Echo, message: 'a') + Client.frame(:Info, handle: 'nobody') +
               Client.frame(:Echo, message: 'b'))
  same('before a refused one', client.receive(:Echo).message, 'a')
  refused('a refused request in the middle', 'unknown handle') { client.receive(:Info) }
  same('after a refused one', client.receive(:Echo).message, 'b')
  frame = Client.frame(:Echo, message: 'piecewise')
  frame.each_char { |c| client.write(c); sleep 0.001 }
  same('a request that comes byte by byte', client.receive(:Echo).message, 'piecewise')
  client.close
end

group 'malformed' do
  ["-5\r\n", "0x10\r\n", "99999999999\r\n", "garbage\r\n", "3\r\nabc\r\n"].each do |bytes|
    client = Client.new(PATH)
    client.write(bytes)
    report(client.closed_by_server?, "#{bytes.inspect} closes its connection")
    client.close
  end
  client = Client.new(PATH)
  client.write(Client.frame(:Echo, message: 'first') + "-1\r\n")
  same('what came before it is answered', client.receive(:Echo).message, 'first')
  report(client.closed_by_server?, 'and the connection is closed then')
  $main.call(:Ping)
  report(true, 'another connection is not affected')
end

group 'handles' do
  with_container do |id|
    report(id =~ /\A[0-9a-v]{11}\z/, 'the handle is the id unless one is given', id)
    with_container { |later| report(later > id, 'ids increase', "#{id}, then #{later}") }
  end
  ["plain-handle", "h\xff\xfe\xc3\xa4".b, '', 'a/b', '../x', "with \n newline"].each do |handle|
    with_container(handle: handle) do |got|
      same("handle #{handle.inspect} is given back", got, handle)
      report(handles.include?(handle.b), "handle #{handle.inspect} is listed", handles.inspect)
      refused("handle #{handle.inspect} is taken",
              "container with handle: #{handle.b} already exists.".b) do
        $main.call(:Create, handle: handle)
      end
      same("handle #{handle.inspect} names the container", run(handle, 'echo here').stdout, "here\n")
      $main.call(:Destroy, handle: handle)
      report(!handles.include?(handle.b), "handle #{handle.inspect} is gone after destroy")
    end
  end
end

group 'unknown' do
  { Info: {}, Stop: {}, Destroy: {}, Spawn: { script: 'true' }, Run: { script: 'true' },
    Link: { job_id: 1 }, Stream: { job_id: 1 } }.each do |name, fields|
    refused("#{name} of an unknown handle", 'unknown handle') do
      $main.call(name, fields.merge(handle: 'nobody'))
    end
  end
  with_container do |handle|
    refused('link of an unknown job', 'no such job') do
      $main.call(:Link, handle: handle, job_id: 4_000_000_000)
    end
    refused('stream of an unknown job', 'no such job') do
      $main.call(:Stream, handle: handle, job_id: 4_000_000_000)
    end
    with_container do |other|
      job = $main.call(:Spawn, handle: handle, script: 'true').job_id
      refused("another container's job", 'no such job') do
        $main.call(:Link, handle: other, job_id: job)
      end
    end
  end
end

group 'info' do
  with_container do |handle|
    info = $main.call(:Info, handle: handle)
    same('a new container is active', info.state, 'active')
    report(info.container_path.to_s.start_with?('/'), 'info has a container_path', info.inspect)
    same('without jobs there are no job_ids', info.job_ids, nil)
    same('without events there are no events', info.events, nil)
    job = $main.call(:Spawn, handle: handle, script: 'sleep 60').job_id
    same('a running job is listed', $main.call(:Info, handle: handle).job_ids, [job])
    $main.call(:Stop, handle: handle, kill: true)
    same('a stopped container is stopped', $main.call(:Info, handle: handle).state, 'stopped')
  end
end

group 'run' do
  with_container do |handle|
    result = run(handle, "echo out; echo err >&2; exit 42")
    same('stdout', result.stdout, "out\n")
    same('stderr', result.stderr, "err\n")
    same('exit status', result.exit_status, 42)
    same('info comes with it', result.info&.state, 'active')
    same('no output reads as empty', run(handle, 'true').stdout.to_s, '')
    same('success', run(handle, 'true').exit_status, 0)
    same('a killed job', run(handle, 'kill -9 $$').exit_status, 255)
    same('a terminated job', run(handle, 'kill -TERM $$').exit_status, 255)
    same('binary output', run(handle, "printf '\\377\\000\\001\\r\\n\\200'").stdout, "\xff\x00\x01\r\n\x80".b)
    if run(handle, 'test -x /bin/bash').exit_status.zero?
      same('cat reads the rest of the script', run(handle, "cat\nthe rest\nof it").stdout,
           "the rest\nof it")
    else
      skip('cat reads the rest of the script', 'the image has no bash, and its sh reads ahead')
    end
    same('a job ends with its shell', run(handle, 'sleep 60 & echo done').stdout, "done\n")
    same('a job without privilege is vcap', run(handle, 'id -un').stdout, "vcap\n")
    report(run(handle, 'id -u').stdout.to_i > 0, 'whose id is not 0')
    same('a privileged job is root', run(handle, 'id -u', privileged: true).stdout, "0\n")
    same('a large script', run(handle, "#{'#' * 100_000}\necho end").stdout, "end\n")
  end
end

group 'environment' do
  with_container do |handle|
    environment = lambda do |options|
      text = run(handle, "tr '\\000' '\\n' </proc/$$/environ", options).stdout
      text.lines.map { |line| line.chomp.split('=', 2) }.to_h
    end
    user = environment.call({})
    same('names for vcap', user.keys.sort, %w[HOME LANG PATH USER])
    same('PATH of vcap', user['PATH'], '/bin:/usr/bin')
    same('USER of vcap', user['USER'], 'vcap')
    root = environment.call(privileged: true)
    same('names for root', root.keys.sort, %w[HOME LANG PATH USER])
    same('PATH of root', root['PATH'], '/sbin:/bin:/usr/sbin:/usr/bin')
    same('USER and HOME of root', root.values_at('USER', 'HOME'), ['root', '/root'])
    same('a job starts at home', run(handle, 'pwd').stdout.chomp, user['HOME'])
    same('umask', run(handle, 'umask').stdout, "0022\n")
    same('no terminal', run(handle, 'test -t 0 || test -t 1 || test -t 2').exit_status, 1)
    same('a session of its own', run(handle, 'read -r p c s pp g session rest </proc/$$/stat; ' \
         '[ "$session" = $$ ] && echo yes').stdout, "yes\n")
    # What the shell opens for itself lies at 10 and above.
    open = run(handle, 'ls /proc/$$/fd').stdout.split.map(&:to_i)
    same('no surplus descriptor', open.select { |fd| fd < 10 }.sort, [0, 1, 2])
  end
end

group 'rlimits' do
  with_container do |handle|
    before = run(handle, 'ulimit -n').stdout
    same('a limit of the request', run(handle, 'ulimit -n; ulimit -Hn',
                                       rlimits: { nofile: 77 }).stdout, "77\n77\n")
    same('does not stick to the next job', run(handle, 'ulimit -n').stdout, before)
    same('core is 0 unless configured', run(handle, 'ulimit -c').stdout, "0\n")
  end
end

group 'spawn and link' do
  with_container do |handle|
    first = $main.call(:Spawn, handle: handle, script: 'echo one').job_id
    second = $main.call(:Spawn, handle: handle, script: 'echo two; exit 3').job_id
    report(first >= 1 && second > first, 'job ids increase', "#{first}, #{second}")
    result = $main.call(:Link, handle: handle, job_id: second)
    same('link has stdout', result.stdout, "two\n")
    same('link has the status', result.exit_status, 3)
    refused('a linked job is gone', 'no such job') do
      $main.call(:Link, handle: handle, job_id: second)
    end
    same('the other is still there', $main.call(:Link, handle: handle, job_id: first).stdout, "one\n")

    job = $main.call(:Spawn, handle: handle, script: 'sleep 1; echo late').job_id
    linkers = (1..3).map { Client.new(PATH) }
    linkers.each { |client| client.send_request(:Link, handle: handle, job_id: job) }
    same('every linker of a running job gets the answer',
         linkers.map { |client| client.receive(:Link).stdout }, ["late\n"] * 3)
    linkers.each(&:close)
  end
end

group 'stream' do
  with_container do |handle|
    script = 'echo one; sleep 0.3; echo two >&2; sleep 0.3; echo three; exit 7'
    job = $main.call(:Spawn, handle: handle, script: script).job_id
    pieces, last = stream($main, handle, job)
    same('pieces come in order', pieces, [%W[stdout one\n], %W[stderr two\n], %W[stdout three\n]])
    same('the last response has the status', last.exit_status, 7)
    same('and the info', last.info&.state, 'active')
    same('and no data', [last.name, last.data], [nil, nil])

    job = $main.call(:Spawn, handle: handle, script: 'echo early; sleep 1; echo late').job_id
    sleep 0.4
    clients = [Client.new(PATH), Client.new(PATH)]
    outputs = clients.map { |client| Thread.new { stream(client, handle, job) } }.map(&:value)
    same('several connections get all of it, also what came before',
         outputs.map { |result| output(result[0], 'stdout') }, ["early\nlate\n"] * 2)
    clients.each(&:close)

    job = $main.call(:Spawn, handle: handle, script: 'echo early; sleep 1; echo late').job_id
    leaver = Client.new(PATH)
    leaver.send_request(:Stream, handle: handle, job_id: job)
    leaver.receive(:Stream)
    leaver.close
    pieces, last = stream($main, handle, job)
    same('a client that leaves takes nothing with it', output(pieces, 'stdout'), "early\nlate\n")
    same('nor the status', last.exit_status, 0)

    script = 'head -c 3000000 /dev/zero | tr "\\000" "\\377"'
    if LIMIT.nil? || LIMIT > 3_000_000
      job = $main.call(:Spawn, handle: handle, script: script).job_id
      pieces, = stream($main, handle, job)
      same('3,000,000 bytes arrive', output(pieces, 'stdout') == "\xff".b * 3_000_000, true)
    else
      skip('3,000,000 bytes arrive', 'more than job_output_limit')
    end
  end
end

group 'output limit' do
  if LIMIT.nil?
    skip('output over the limit', 'WARDEN_JOB_OUTPUT_LIMIT is not set')
  else
    with_container do |handle|
      result = run(handle, 'while :; do echo 0123456789012345678901234567890123456789; done')
      same('output over the limit ends the job', result.exit_status, 255)
      report(result.stdout.bytesize.positive?, 'what there was is in the answer')
      report((result.info&.events || []).include?('command exceeded maximum output'),
             'an event says so', result.info.inspect)
      count = LIMIT + 100_000
      result = run(handle, "head -c #{count} /dev/zero; exit 5", discard_output: true)
      same('discarded output is not limited', result.exit_status, 5)
      same('and not kept', result.stdout.to_s, '')
    end
  end
end

group 'stop' do
  with_container do |handle|
    script = "trap 'echo terminated; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    job = $main.call(:Spawn, handle: handle, script: script).job_id
    watcher = Client.new(PATH)
    watcher.send_request(:Stream, handle: handle, job_id: job)
    watcher.receive(:Stream)  # ready
    $main.call(:Stop, handle: handle)
    output = String.new
    response = watcher.receive(:Stream)
    while response.exit_status.nil?
      output << response.data if response.name == 'stdout'
      response = watcher.receive(:Stream)
    end
    same('stop sends TERM', output, "terminated\n")
    same('and lets the job choose its status', response.exit_status, 3)
    watcher.close
    $main.call(:Stop, handle: handle)
    report(true, 'stop of a stopped container does nothing')
    refused('run needs an active container', ACTIVE_ONLY) { run(handle, 'true') }
    refused('so does spawn', ACTIVE_ONLY) { $main.call(:Spawn, handle: handle, script: 'true') }
    same('info does not', $main.call(:Info, handle: handle).state, 'stopped')
  end

  with_container do |handle|
    job = $main.call(:Spawn, handle: handle, script: "trap '' TERM; while :; do sleep 1; done").job_id
    sleep 0.3
    start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    $main.call(:Stop, handle: handle, kill: true)
    took = Process.clock_gettime(Process::CLOCK_MONOTONIC) - start
    report(took < 3, 'stop with kill does not wait for TERM', "took #{took} s")
    same('a job that was killed', $main.call(:Link, handle: handle, job_id: job).exit_status, 255)
  end

  with_container do |handle|
    job = $main.call(:Spawn, handle: handle, script: "trap '' TERM; while :; do sleep 1; done").job_id
    sleep 0.3
    start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    $main.call(:Stop, handle: handle, background: true)
    $main.call(:Stop, handle: handle)
    took = Process.clock_gettime(Process::CLOCK_MONOTONIC) - start
    report(took < 3, 'stop in the background, and a second one, answer at once', "took #{took} s")
    result = $main.call(:Link, handle: handle, job_id: job)
    took = Process.clock_gettime(Process::CLOCK_MONOTONIC) - start
    same('a job that ignores TERM is killed', result.exit_status, 255)
    report(took > 8 && took < 20, 'after about 10 s', "took #{took} s")
  end
end

group 'destroy' do
  handle = $main.call(:Create).handle
  job = $main.call(:Spawn, handle: handle, script: 'echo begun; sleep 600').job_id
  linker = Client.new(PATH)
  linker.send_request(:Link, handle: handle, job_id: job)
  streamer = Client.new(PATH)
  streamer.send_request(:Stream, handle: handle, job_id: job)
  same('a stream is under way', streamer.receive(:Stream).data, "begun\n")
  sleep 0.3  # the link request is read by now
  $main.call(:Destroy, handle: handle)
  result = linker.receive(:Link)
  report(result.exit_status != 0, 'link ends with a status that is not 0', result.inspect)
  report(!result.info.nil?, 'and carries info', result.inspect)
  last = nil
  last = streamer.receive(:Stream) until last&.exit_status
  report(last.exit_status != 0, 'stream ends with a status that is not 0', last.inspect)
  refused('the container is gone', 'unknown handle') { $main.call(:Info, handle: handle) }
  linker.close
  streamer.close
end

UNLIMITED_MEMORY = 9_223_372_036_854_771_712
UNLIMITED_RATE = 0xffffffff
MIB = 1024 * 1024
OUTSIDE = ENV['WARDEN_OUTSIDE']
EXTERNAL = ENV['WARDEN_EXTERNAL']

def refused_somehow(name)
  yield
  report(false, name, 'was not refused')
rescue ServerError => e
  report(!e.message.empty?, name)
end

group 'limit memory' do
  with_container do |handle|
    limit = ->(fields = {}) { $main.call(:LimitMemory, fields.merge(handle: handle)).limit_in_bytes }
    same('memory is unlimited at first', limit.call, UNLIMITED_MEMORY)
    [64, 128, 32].each do |mib|
      same("a limit of #{mib} MiB", limit.call(limit_in_bytes: mib * MIB), mib * MIB)
      same('is in force', limit.call, mib * MIB)
    end
    same('a limit is rounded down to pages', limit.call(limit_in_bytes: 32 * MIB + 5), 32 * MIB)
    stat = $main.call(:Info, handle: handle).memory_stat
    same('info has the limit', stat.hierarchical_memory_limit, 32 * MIB)
    report(!stat.total_rss.nil?, 'and what is used')
  end
end

group 'limit cpu' do
  with_container do |handle|
    limit = ->(fields = {}) { $main.call(:LimitCpu, fields.merge(handle: handle)).limit_in_shares }
    same('a new container has 1024 shares', limit.call, 1024)
    { 512 => 512, 2048 => 2048, 0 => 2, 1 => 2, 1_000_000 => 262_144 }.each do |wanted, got|
      same("#{wanted} shares", limit.call(limit_in_shares: wanted), got)
      same('are in force', limit.call, got)
    end
    run(handle, 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done')
    stat = $main.call(:Info, handle: handle).cpu_stat
    report(stat.usage.to_i.positive?, 'info has the time that was used', stat.inspect)
    report(!stat.user.nil? && !stat.system.nil?, 'of user and system', stat.inspect)
  end
end

group 'limit bandwidth' do
  with_container do |handle|
    rates = lambda do
      stat = $main.call(:Info, handle: handle).bandwidth_stat
      [stat.in_rate, stat.in_burst, stat.out_rate, stat.out_burst]
    end
    same('bandwidth is unlimited at first', rates.call.values_at(0, 2), [UNLIMITED_RATE] * 2)
    [[1_000_000, 100_000], [2_000_000, 50_000]].each do |rate, burst|
      response = $main.call(:LimitBandwidth, handle: handle, rate: rate, burst: burst)
      same("a rate of #{rate}", [response.rate, response.burst], [rate, burst])
      same('shows in info', rates.call, [rate, burst, rate, burst])
    end
    refused_somehow('a rate of 0') { $main.call(:LimitBandwidth, handle: handle, rate: 0, burst: 1) }
  end
end

group 'limit disk' do
  if ENV['WARDEN_DISK_QUOTA'].nil?
    skip('limit disk', 'WARDEN_DISK_QUOTA is not set')
  else
    with_container do |handle|
      limit = ->(fields = {}) { $main.call(:LimitDisk, fields.merge(handle: handle)) }
      same('twelve fields are answered', Protocol::DISK_FIELDS.keys.count { |f| limit.call[f].nil? }, 0)
      got = limit.call(byte_limit: 20 * MIB)
      same('bytes are limited', got.byte_hard, 20 * MIB)
      same('which is the same in blocks', got.block_hard, 20 * 1024)
      same('blocks win over bytes', limit.call(byte: 1 * MIB, block: 30 * 1024).byte_hard, 30 * MIB)
      report(run(handle, 'head -c 60000000 /dev/zero >/tmp/large').exit_status != 0, 'writing past it fails')
      stat = $main.call(:Info, handle: handle).disk_stat
      report(stat.bytes_used.to_i.between?(10 * MIB, 30 * MIB), 'info says what is used', stat.inspect)
    end
  end
end

group 'copies' do
  Dir.mktmpdir do |host|
    with_container do |handle|
      FileUtils.mkdir_p("#{host}/tree/deep")
      File.binwrite("#{host}/tree/deep/file", "\xff\0inside".b)
      File.symlink('deep/file', "#{host}/tree/link")
      $main.call(:CopyIn, handle: handle, src_path: "#{host}/tree", dst_path: '/tmp')
      same('copy in', run(handle, 'cd /tmp/tree; stat -c %U deep/file; readlink link').stdout, "vcap\ndeep/file\n")
      $main.call(:CopyOut, handle: handle, src_path: '/tmp/tree/', dst_path: "#{host}/back", owner: 'root:root')
      same('and out again', File.binread("#{host}/back/link"), "\xff\0inside".b)
      refused_somehow('copy in of what is not there') do
        $main.call(:CopyIn, handle: handle, src_path: "#{host}/missing", dst_path: '/tmp')
      end
      $main.call(:Stop, handle: handle)
      $main.call(:CopyOut, handle: handle, src_path: '/tmp/tree/link', dst_path: "#{host}/link")
      same('copy out of a stopped container', File.readlink("#{host}/link"), 'deep/file')
      refused('copy in needs an active container', ACTIVE_ONLY) do
        $main.call(:CopyIn, handle: handle, src_path: "#{host}/tree", dst_path: '/tmp')
      end
    end
  end
end

group 'net in' do
  with_container do |handle|
    info = $main.call(:Info, handle: handle)
    report(info.host_ip =~ /\A\d+(\.\d+){3}\z/, 'info has host_ip', info.host_ip)
    same('and container_ip beside it', info.container_ip.split('.').last.to_i,
         info.host_ip.split('.').last.to_i + 1)
    any = $main.call(:NetIn, handle: handle)
    report(any.host_port > 1024 && any.container_port == any.host_port, 'a port of the pool', any.inspect)
    one = $main.call(:NetIn, handle: handle, container_port: 8080)
    report(one.host_port != any.host_port && one.container_port == 8080, 'for a port of the container', one.inspect)
    chosen = $main.call(:NetIn, handle: handle, host_port: 4711, container_port: 8080)
    same('a chosen one', [chosen.host_port, chosen.container_port], [4711, 8080])
    refused_somehow('a second time') { $main.call(:NetIn, handle: handle, host_port: 4711) }
    refused_somehow('port 65536') { $main.call(:NetIn, handle: handle, host_port: 65_536) }
    if EXTERNAL.nil?
      skip('a connection by it', 'WARDEN_EXTERNAL is not set')
    else
      job = $main.call(:Spawn, handle: handle, script: 'echo inside | nc -l -p 8080').job_id
      answer = nil
      50.times do
        begin
          answer = Socket.tcp(EXTERNAL, 4711, connect_timeout: 2, &:read)
          break
        rescue SystemCallError
          sleep 0.1
        end
      end
      same('a connection by it', answer, "inside\n")
      $main.call(:Link, handle: handle, job_id: job)
    end
    $main.call(:Stop, handle: handle, kill: true)
    refused('net in needs an active container', ACTIVE_ONLY) { $main.call(:NetIn, handle: handle) }
  end
end

group 'net out' do
  with_container do |handle|
    refused('nothing named', 'Please specify network, port, and/or port_range.') do
      $main.call(:NetOut, handle: handle)
    end
    refused('a reversed range', 'Port range maximum must be greater than minimum') do
      $main.call(:NetOut, handle: handle, network: '10.0.0.0/8', port_range: '90:80')
    end
    ['0.0.0.0/0 -j ACCEPT', '10.0.0.0/33', 'example.com', '10.0.0.2-10.0.0.1'].each do |network|
      refused_somehow("network #{network.inspect}") { $main.call(:NetOut, handle: handle, network: network) }
    end
    kind = Protocol::NetOutRequest::Kind
    [{ network: '10.0.0.1' }, { network: '10.0.0.0/8', port: 53, protocol: kind::UDP },
     { network: '10.0.0.1-10.0.0.9', port_range: '80:90' }, { port: 443, log: true },
     { network: '10.0.0.1', protocol: kind::ICMP, icmp_type: -1, icmp_code: -1 },
     { network: '10.0.0.1', protocol: kind::ICMP, icmp_type: 8, icmp_code: 0 },
     { network: '10.0.0.1', protocol: kind::ALL }].each do |fields|
      $main.call(:NetOut, fields.merge(handle: handle))
      report(true, "net out #{fields.inspect}")
    end
  end
  if OUTSIDE.nil?
    skip('a connection to the outside', 'WARDEN_OUTSIDE is not set')
  else
    with_container do |handle|
      greeting = -> { run(handle, "nc -w 2 #{OUTSIDE} 7 </dev/null").stdout.to_s }
      same('nothing is reached at first', greeting.call, '')
      $main.call(:NetOut, handle: handle, network: OUTSIDE, port: 7)
      same('what is allowed is', greeting.call, "outside\n")
    end
  end
end

group 'out of memory' do
  with_container do |handle|
    $main.call(:LimitMemory, handle: handle, limit_in_bytes: 32 * MIB)
    job = $main.call(:Spawn, handle: handle, script: 'head -c 100000000 /dev/zero >/dev/shm/large; sleep 60').job_id
    result = $main.call(:Link, handle: handle, job_id: job)
    report(result.exit_status != 0, 'a job over the limit ends', result.exit_status.inspect)
    info = $main.call(:Info, handle: handle)
    100.times do
      break if info.state == 'stopped'
      sleep 0.1
      info = $main.call(:Info, handle: handle)
    end
    same('its container is stopped', info.state, 'stopped')
    report((info.events || []).include?('out of memory'), 'an event says so', info.events.inspect)
  end
end

group 'network' do
  handle = $main.call(:Create).handle
  address = $main.call(:Info, handle: handle).container_ip
  refused_somehow('a taken network') { $main.call(:Create, network: address) }
  refused_somehow('a network outside of the pool') { $main.call(:Create, network: '8.8.8.8') }
  $main.call(:Destroy, handle: handle)
end

group 'grace time' do
  other = Client.new(PATH)
  handle = other.call(:Create, grace_time: 1).handle
  sleep 1.5
  report(handles.include?(handle.b), 'a container lives while its connection is open')
  other.close
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 10
  sleep 0.1 while handles.include?(handle.b) && Process.clock_gettime(Process::CLOCK_MONOTONIC) < deadline
  report(!handles.include?(handle.b), 'and is destroyed after its grace time')
end

puts "1..#{$count}"
exit($failures.zero? && $count.positive? ? 0 : 1)
