@0x817f777cd42fa483;
# What the frontend asks of wshd, process 1 of a container, and what wshd answers.
#
# Transport: a SOCK_SEQPACKET connection; one packet is one message with its descriptors
# (base/packet.h). wshd trusts the frontend as far as this container goes: the protocol carries no
# authority outside of it. wshd serves one connection at a time: accepting a new one on its listening
# socket (run/wshd.sock) ends the old one, so that a frontend that comes back takes over at once.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("warden::schema");

struct WshdRequest {
  # Frontend -> wshd. Executed and answered in order.

  sequence @0 :UInt64;
  # Echoed in the reply; not 0, but for a `forget` that is not to be answered.

  union {
    spawn @1 :SpawnJob;
    signalAll @2 :Int32;
    # Sends this signal to every process of the container but wshd. Answered with `done`, or with
    # `failed` and ESRCH when there is no process (an earlier wshd: with `done`, too).
    forget @3 :UInt32;
    # The job with this id is done with: wshd closes its duplicates of the job's pipes and drops the
    # exit status. Answered with `done`, also when there is no such job; not at all when the sequence
    # is 0. A job that still runs goes on.
    list @4 :Void;
    # Answered with `jobs`.
    attach @5 :UInt32;
    # Asks for the pipes of the job with this id again: answered with `spawned`.
    ping @6 :Void;
    # Answered with `done`.
    signalJob @7 :SignalJob;
    # Answered with `done`, also when the job has ended or there is no such job.
    copy @8 :CopyFiles;
    # Answered when the copy has ended: with `done`, or with `failed`.
    cancelCopy @9 :UInt64;
    # The sequence number of a copy. Kills its process, so that the copy is answered with `failed`; does
    # nothing when it has ended. Answered with `done`.
    meterCopy @10 :Void;
    # The next copy of this connection tells how far it is, if it is not refused. Descriptor 0: the write end of a non-blocking pipe,
    # for records of base/progress-pipe.h: bytes of files and entries that it has read or written, about ten
    # times a second and at its end. What finds the pipe full is lost. Answered with `done`. A request of its own, so
    # that a wshd that does not know it still copies.
  }
}

struct CopyFiles {
  # Packs files of the container into a tar stream, or unpacks a stream, in a process that has become `uid`
  # and has no capability. Descriptor 0: the stream, one end of an AF_UNIX SOCK_STREAM pair. Other
  # requests are served meanwhile. The process is not a job. At most 8 at a time; a new connection
  # kills those of the one before.

  uid @0 :UInt32;
  gid @1 :UInt32;
  groups @2 :List(UInt32);
  home @3 :Data;
  # Relative paths begin here.
  path @4 :Data;
  # In the container. A trailing slash has its meaning for rsync(1).
  union {
    pack @5 :Void;
    unpack @6 :Void;
  }
}

struct SignalJob {
  # Sends a signal to the process group that the job's shell leads, which is every process of the job
  # that did not leave it by setpgid(2) or setsid(2). Does nothing when the shell has ended: the
  # group's number may be another's by then.

  jobId @0 :UInt32;
  signal @1 :Int32;
  # As in signal(7), of the container's architecture.
}

struct SpawnJob {
  # Starts a shell that reads the script. Descriptor 0: the script, a regular file (sealed memfd)
  # positioned at its start, which becomes the shell's stdin.
  #
  # Fails when the id is in use, the home directory cannot be entered, a limit cannot be set, or no
  # process can be made.

  jobId @0 :UInt32;
  uid @1 :UInt32;
  gid @2 :UInt32;
  groups @3 :List(UInt32);
  # Supplementary groups. Ids are the container's.

  privileged @4 :Bool;
  # True: the container's capability bounding set is permitted and effective (uid should be 0).
  # False: no capability, and no_new_privs.

  home @5 :Data;
  # Working directory; absolute, without NUL.
  environment @6 :List(Data);
  # NAME=value, the whole environment.
  limits @7 :List(ResourceLimit);

  replyMayWait @8 :Bool;
  # True: nobody waits for the job's start, so wshd may hold the reply back for some milliseconds, or
  # until the shell has ended or another request comes. The end is then in the reply
  # (WshdMessage.ended), and the frontend is woken once.
}

struct ResourceLimit {
  resource @0 :UInt8;
  # RLIMIT_* of <sys/resource.h>.
  value @1 :UInt64;
  # Soft and hard; 0xffffffffffffffff is unlimited.
  clamp @2 :Bool;
  # True: where the hard limit in force is lower, it stays (a default). False: that is an error (a
  # client asked for it).
}

struct WshdMessage {
  # wshd -> frontend: the reply to a request, or (sequence 0) an event.

  sequence @0 :UInt64;

  union {
    done @1 :Void;
    spawned @2 :Int32;
    # The shell's pid as the container sees it. Descriptors 0 and 1: read ends of the job's stdout
    # and stderr. wshd keeps duplicates until `forget`. None where `ended` is there and both are empty.
    failed @3 :JobFailure;
    # Of a copy: `step` is the failed step with the path in words, and what was copied before stays.
    jobs @4 :List(Job);
    exited @5 :Job;
    # Event: a job's shell has ended. Sent once on a connection for each job; state is never running.
  }

  ended @6 :Job;
  # Only with `spawned`, the reply to a request with `replyMayWait`: the shell has ended already, and
  # this stands for the event. Otherwise null.
}

struct Job {
  jobId @0 :UInt32;
  union {
    running @1 :Void;
    exitCode @2 :UInt8;
    signal @3 :UInt8;
  }
}

struct JobFailure {
  step @0 :Text;
  # "setrlimit nofile", "chdir", "execve /bin/bash": what failed, in words.
  errno @1 :Int32;
}
