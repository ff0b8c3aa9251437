#include "frontend/job-answer.h"

#include "frontend/payload.h"

namespace warden::frontend {

namespace {

constexpr uint64_t STREAM_CHUNK_BYTES = 256 * 1024;

class OutputReader {
  // One client's progress through a job's output.

 public:
  OutputReader(kj::Own<Container> container, kj::Own<Job> job, ResponseWriter& out)
      : container(kj::mv(container)), job(kj::mv(job)), out(out) {}

  kj::Promise<void> run() {
    for (int i = 0; i < 2; ++i) {
      // Taking turns, so that a job that floods one stream does not hide the other.
      auto stream = next;
      next = next == OutputStream::STDOUT ? OutputStream::STDERR : OutputStream::STDOUT;
      auto& offset = offsets[static_cast<int>(stream)];
      auto range = job->output().range(stream, offset, STREAM_CHUNK_BYTES);
      if (range.size == 0) continue;
      offset += range.size;
      return out.send(Message::Stream, streamPayload(stream, range)).then([this]() {
        return run();
      });
    }
    if (job->ended()) return finish();
    return job->whenChanged().exclusiveJoin(container->whenSilent()).then([this]() {
      return run();
    });
  }

 private:
  kj::Own<Container> container;
  kj::Own<Job> job;
  ResponseWriter& out;
  OutputStream next = OutputStream::STDOUT;
  uint64_t offsets[2] = {0, 0};

  kj::Promise<void> finish() {
    return container->describe()
        .then([this](InfoResponse info) {
          StreamResponse response;
          response.set_exit_status(job->status());
          *response.mutable_info() = std::move(info);
          return out.send(Message::Stream, response);
        })
        .then([this]() { container->release(*job); });
  }
};

}  // namespace

kj::Promise<void> answerWhenEnded(kj::Own<Container> container, kj::Own<Job> job,
                                  Message::Type type, ResponseWriter& out) {
  auto ended = job->whenEnded().exclusiveJoin(container->whenSilent());
  return ended.then([&container = *container]() { return container.describe(); })
      .then([&job = *job, type, &out](InfoResponse info) {
        return out.send(type, linkPayload(job, info));
      })
      .then([&container = *container, &job = *job]() { container.release(job); })
      .attach(kj::mv(job), kj::mv(container));
}

kj::Promise<void> streamOutput(kj::Own<Container> container, kj::Own<Job> job,
                               ResponseWriter& out) {
  auto reader = kj::heap<OutputReader>(kj::mv(container), kj::mv(job), out);
  auto done = reader->run();
  return done.attach(kj::mv(reader));
}

}  // namespace warden::frontend
