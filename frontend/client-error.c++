#include "frontend/client-error.h"

#include <string.h>

namespace warden::frontend {

namespace {

// A kj::Exception names the file it was made in; no source file has this name.
constexpr char MARK[] = "client-visible";

}  // namespace

kj::Exception clientError(kj::String text, kj::Exception::Type type) {
  return kj::Exception(type, MARK, 0, kj::mv(text));
}

bool isClientError(const kj::Exception& exception) {
  return strcmp(exception.getFile(), MARK) == 0;
}

kj::StringPtr errnoText(int error) {
  const char* text = strerrordesc_np(error);
  return text == nullptr ? "unknown error" : text;
}

}  // namespace warden::frontend
