@0xc1f0a7c3b2d94e57;
# What the frontend tells the helper of each request that it has served, for the audit trail. The helper
# writes the trail: it adds the time and the place in the chain, and a frontend that was taken over can add
# lines, but not change or remove one.
#
# Transport: a SOCK_SEQPACKET pair of its own, one AuditMessage a packet, no answers.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("warden::schema");

struct AuditMessage {
  # Frontend -> helper.

  union {
    request @0 :RequestRecord;

    client @1 :Void;
    # Before the first record of a connection, while its client waits for an answer. Descriptor 0: its socket. The
    # helper looks at who has connected it, and what program that is.

    gone @2 :UInt64;
    # This connection has ended; its number.
  }
}

struct RequestRecord {
  # When the request has been answered, or its client has gone. A record that the
  # helper cannot read becomes a line that says so. Every byte may come from an attacker.

  request @0 :Text;
  # "create", "run", ... as the command `warden` names them.

  pid @1 :Int32;
  uid @2 :UInt32;
  gid @3 :UInt32;
  # Of the client, by SO_PEERCRED. They count where the helper does not know the connection.
  connection @4 :UInt64;
  # The number that the kernel gives the client's socket (socket(7), SO_COOKIE).

  handle @5 :Data;
  # As the client sent it; of create, as it was answered. Empty: none. At most maxHandleBytes of it.
  handleBytes @6 :UInt32;
  # The length of all of it.

  outcome @7 :Outcome;
  cause @8 :Data;
  # The text of the error; empty when done.
  durationUs @9 :UInt64;

  scriptSha256 @10 :Text;
  # Of a job's script, in 64 digits; empty: the request has none. Never the script.
  scriptBytes @11 :UInt64;
  jobId @12 :UInt64;
  # Of spawn's answer, link's and stream's request. 0: none.

  lost @13 :UInt64;
  # How many records before this one the frontend could not send, because the helper did not take
  # them in time.

  const maxHandleBytes :UInt32 = 4096;
  const maxCauseBytes :UInt32 = 4096;

  enum Outcome {
    done @0;
    refused @1;
    failed @2;
  }
}
