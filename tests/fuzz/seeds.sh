#!/bin/bash
# Usage: tests/fuzz/seeds.sh
# Writes seeds of the corpora again that are messages in words: schema/*.capnp says what they mean. For developers.
set -euo pipefail
cd "$(dirname "$0")/../.."

# seed CORPUS/NAME FILE TYPE TEXT [FIRST BYTE]
seed() {
  { printf '%b' "${5:-}"; capnp encode "schema/$2" "$3" <<<"$4"; } >"tests/fuzz/corpus/$1"
}

A=tests/fuzz/corpus/audit-record
mkdir -p $A
record() { seed "audit-record/$1" audit.capnp AuditMessage "$3" "$2"; }
# What audit-record.c++ takes for the connection that there is.
K=$(printf 'KNOWNONE' | od -An -tu8 | tr -d ' ')
record request-done '\x00' '(request=(request="create",pid=7,uid=1000,gid=100,connection=5,handle="hers",handleBytes=4,outcome=done,durationUs=12))'
record request-of-the-client '\x00' "(request=(request=\"run\",pid=1,connection=$K,handle=\"h\",outcome=refused,cause=\"permission denied\",scriptSha256=\"00ff\",scriptBytes=9,jobId=3,lost=2))"
record request-odd '\x03' '(request=(request="a\n\"\\\x01",handle=0x"00ff0a1bc0af",handleBytes=4294967295,cause=0x"ed a0 80 22 7d 0a 7b",outcome=failed,durationUs=18446744073709551615,lost=18446744073709551615))'
record request-empty '\x00' '(request=())'
record client '\x01' '(client=void)'
record client-and-another '\x03' '(client=void)'
record client-none '\x00' '(client=void)'
record client-stranger '\x02' '(client=void)'
record gone '\x00' "(gone=$K)"
record gone-unknown '\x00' '(gone=17)'
head -c 73 $A/request-done >$A/bad-truncated
cp $A/gone $A/bad-unknown-union; printf '\377\377' | dd of=$A/bad-unknown-union bs=1 seek=17 conv=notrunc status=none

# Of the helper, one of each kind at least.
helper() { seed "helper-request/$1" privhelper.capnp HelperRequest "$2"; }
I='id="0123456789b"'
helper limit-memory "(sequence=3,hasClient=true,limitMemory=($I,bytes=67108864))"
helper limit-memory-read "(sequence=3,limitMemory=($I,read=void))"
helper limit-cpu "(sequence=4,hasClient=true,limitCpu=($I,shares=10))"
helper limit-cpu-read "(sequence=4,limitCpu=($I,read=void))"
helper limit-disk "(sequence=5,hasClient=true,limitDisk=($I,limits=(blocksSoft=1,blocksHard=1024,inodesSoft=2,inodesHard=100)))"
helper limit-disk-read "(sequence=5,limitDisk=($I,read=void))"
helper limit-bandwidth "(sequence=6,hasClient=true,limitBandwidth=($I,rate=1000000,burst=100000))"
helper map-port "(sequence=7,hasClient=true,mapPort=($I,hostPort=5000,containerPort=80))"
helper allow-out "(sequence=8,hasClient=true,allowOut=($I,firstAddress=167772160,lastAddress=167772415,protocol=tcp,firstPort=80,lastPort=443,log=true))"
helper allow-out-icmp "(sequence=8,hasClient=true,allowOut=($I,protocol=icmp,icmpType=8,icmpCode=0))"
helper copy-in "(sequence=9,hasClient=true,copyIn=($I,path=\"/srv/files/\"))"
helper copy-out "(sequence=10,hasClient=true,copyOut=($I,path=\"/srv/out\",owner=\"root:root\"))"
helper open-image "(sequence=11,hasClient=true,openImage=(path=\"/srv/image\"))"
helper list-containers "(sequence=12,listContainers=void)"
helper adopt "(sequence=13,adopt=($I))"
helper create-bind-mounts "(sequence=14,hasClient=true,create=($I,slot=1,network=1,imageVcapUid=1000,imageVcapGid=1000,image=2,bindMounts=[(source=\"/srv/a\",target=\"/a\"),(source=\"/srv/b\",target=\"/home/../b/\",writable=true)]))"

wshd() { seed "wshd-request/$1" wshd.capnp WshdRequest "$2"; }
wshd copy "(sequence=15,copy=(uid=1000,gid=1001,groups=[5,6],home=\"/home/vcap\",path=\"files/\",pack=void))"
wshd copy-absolute "(sequence=16,copy=(uid=1000,gid=1001,home=\"/home/vcap\",path=\"/tmp/x\",unpack=void))"
wshd copy-root "(sequence=17,copy=(uid=0,gid=0,home=\"/root\",path=\"x\",unpack=void))"
wshd copy-bad-path "(sequence=18,copy=(uid=1000,gid=1001,home=\"/home/vcap\",path=0x\"612f00 62\",pack=void))"
wshd cancel-copy "(sequence=19,cancelCopy=15)"
wshd meter-copy "(sequence=20,meterCopy=void)"
