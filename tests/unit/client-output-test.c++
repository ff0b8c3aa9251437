#include "client/output.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace warden::client {
namespace {

using Json = nlohmann::ordered_json;

TEST(ClientOutputTest, tellsUtf8FromOtherBytes) {
  EXPECT_TRUE(isUtf8(""));
  EXPECT_TRUE(isUtf8("plain"));
  EXPECT_TRUE(isUtf8("h\xc3\xa4ndel \xe2\x82\xac \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf"));
  EXPECT_FALSE(isUtf8("\xff"));
  EXPECT_FALSE(isUtf8("\x80"));
  EXPECT_FALSE(isUtf8("\xc3"));              // cut short
  EXPECT_FALSE(isUtf8("\xe2\x82"));          // cut short
  EXPECT_FALSE(isUtf8("\xc0\x80"));          // overlong NUL
  EXPECT_FALSE(isUtf8("\xe0\x9f\xbf"));      // overlong
  EXPECT_FALSE(isUtf8("\xf0\x8f\xbf\xbf"));  // overlong
  EXPECT_FALSE(isUtf8("\xed\xa0\x80"));      // a surrogate
  EXPECT_FALSE(isUtf8("\xf4\x90\x80\x80"));  // past U+10FFFF
  EXPECT_FALSE(isUtf8("\xe2\x28\xa1"));
  EXPECT_FALSE(isUtf8("\xe2\x82\x28"));
}

TEST(ClientOutputTest, jsonAgreesWithTheLibraryOnWhatIsUtf8) {
  // nlohmann's dump() throws for strings that are not UTF-8; ours must never hand it one.
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      for (const char* tail : {"", "\x80", "\x80\x80", "\xbf\xbf"}) {
        std::string bytes{static_cast<char>(a), static_cast<char>(b)};
        bytes += tail;
        EXPECT_NO_THROW(dump(bytesToJson(bytes)));
        bool accepted = true;
        try {
          (void)Json(bytes).dump();
        } catch (const Json::exception&) {
          accepted = false;
        }
        EXPECT_EQ(isUtf8(bytes), accepted) << a << " " << b;
      }
    }
  }
}

TEST(ClientOutputTest, losesNoByteInJson) {
  EXPECT_EQ(dump(bytesToJson(std::string("a\0\n\"", 4))), "\"a\\u0000\\n\\\"\"\n");
  EXPECT_EQ(dump(bytesToJson("\xff")), "{\"base64\":\"/w==\"}\n");
  EXPECT_EQ(dump(bytesToJson("\xff\xfe")), "{\"base64\":\"//4=\"}\n");
  EXPECT_EQ(dump(bytesToJson("\xff\xfe\xfd")), "{\"base64\":\"//79\"}\n");
  EXPECT_EQ(dump(bytesToJson("\xff\xfe\xfd\x01")), "{\"base64\":\"//79AQ==\"}\n");
}

TEST(ClientOutputTest, escapesWhatWouldDriveATerminal) {
  EXPECT_EQ(printable("plain h\xc3\xa4ndel"), "plain h\xc3\xa4ndel");
  EXPECT_EQ(printable("\x1b[2J\n\x7f"), "\\x1b[2J\\x0a\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "2J"),
            "\\xc2\\x9b2J");  // CSI of C1
  EXPECT_EQ(printable("\xff\xe2\x82"), "\\xff\\xe2\\x82");
  EXPECT_EQ(printable(std::string("\0", 1)), "\\x00");
}

TEST(ClientOutputTest, showsInfoAsJson) {
  InfoResponse info;
  info.set_state("active");
  info.add_events("out of memory");
  info.add_job_ids(3);
  info.mutable_memory_stat()->set_rss(4096);
  info.mutable_memory_stat()->set_total_unevictable(UINT64_MAX);
  info.mutable_cpu_stat()->set_usage(12);
  EXPECT_EQ(dump(infoToJson(info)),
            "{\"state\":\"active\",\"events\":[\"out of memory\"],\"job_ids\":[3],"
            "\"memory_stat\":{\"rss\":4096,\"total_unevictable\":18446744073709551615},"
            "\"cpu_stat\":{\"usage\":12}}\n");
}

TEST(ClientOutputTest, showsInfoAsATable) {
  InfoResponse info;
  info.set_state("stopped");
  info.set_container_path("/depot/\x1bx");
  info.add_job_ids(3);
  info.add_job_ids(4);
  info.set_host_ip("10.254.0.1");
  info.set_container_ip("10.254.0.2");
  info.add_events("out of memory");
  info.mutable_cpu_stat()->set_usage(12);
  info.mutable_disk_stat()->set_bytes_used(3 << 20);
  info.mutable_memory_stat()->set_rss(4096);
  info.mutable_memory_stat()->set_hierarchical_memory_limit(9223372036854771712u);
  info.mutable_bandwidth_stat()->set_in_rate(0xffffffff);
  std::string text = infoToText(info);
  EXPECT_NE(text.find("container_path                          /depot/\\x1bx\n"),
            std::string::npos);
  EXPECT_NE(text.find("job_id                                  3\njob_id"), std::string::npos);
  EXPECT_NE(text.find("memory_stat.rss                         4096 bytes\n"), std::string::npos);
  EXPECT_NE(text.find("memory_stat.hierarchical_memory_limit   unlimited\n"), std::string::npos);
  EXPECT_NE(text.find("bandwidth_stat.in_rate                  unlimited\n"), std::string::npos);
  EXPECT_NE(text.find("host_ip                                 10.254.0.1\n"), std::string::npos);
  EXPECT_NE(text.find("container_ip                            10.254.0.2\n"), std::string::npos);
  EXPECT_NE(text.find("event                                   out of memory\n"),
            std::string::npos);
  EXPECT_NE(text.find("cpu_stat.usage                          12 ns\n"), std::string::npos);
  EXPECT_NE(text.find("disk_stat.bytes_used                    3145728 bytes (3.0 MiB)\n"),
            std::string::npos);
  EXPECT_EQ(text.find("disk_stat.inodes"), std::string::npos);
}

}  // namespace
}  // namespace warden::client
