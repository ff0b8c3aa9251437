#pragma once
// Responses that carry job output: encoded around the files that hold it.

#include "frontend/job.h"
#include "frontend/session.h"

namespace warden::frontend {

kj::Array<PayloadPart> linkPayload(const Job& job, const InfoResponse& info);
// A LinkResponse or RunResponse (their fields are the same) of a job that has ended. The parts
// borrow from the job.

kj::Array<PayloadPart> streamPayload(OutputStream stream, const FileRange& data);
// A StreamResponse with output.

}  // namespace warden::frontend
