@0xc1f0a7c3b2d94e57;
# What the frontend tells the helper of each request that it has served, for the audit trail. The helper
# writes the trail: it adds the time and the place in the chain, and a frontend that was taken over can add
# lines, but not change or remove one.
#
# Transport: a SOCK_SEQPACKET pair of its own, one packet a message, no descriptors, no answers.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("warden::schema");

struct RequestRecord {
  # Frontend -> helper, when the request has been answered, or its client has gone. A record that the
  # helper cannot read becomes a line that says so. Every byte may come from an attacker.

  request @0 :Text;
  # "create", "run", ... as the command `warden` names them.

  pid @1 :Int32;
  uid @2 :UInt32;
  gid @3 :UInt32;
  # Of the client, by SO_PEERCRED.
  executable @4 :Data;
  unit @5 :Data;
  # Empty: not known.

  handle @6 :Data;
  # As the client sent it; of create, as it was answered. Empty: none. At most maxHandleBytes of it.
  handleBytes @7 :UInt32;
  # The length of all of it.

  outcome @8 :Outcome;
  cause @9 :Data;
  # The text of the error; empty when done.
  durationUs @10 :UInt64;

  scriptSha256 @11 :Text;
  # Of a job's script, in 64 digits; empty: the request has none. Never the script.
  scriptBytes @12 :UInt64;
  jobId @13 :UInt64;
  # Of spawn's answer, link's and stream's request. 0: none.

  lost @14 :UInt64;
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
