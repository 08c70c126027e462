// Errors. Each kind reaches Python as the exception that its name says; Error becomes RuntimeError, as in PyTorch.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace chainrule {

struct Error : std::runtime_error { using runtime_error::runtime_error; };
struct IndexError : Error { using Error::Error; };
struct TypeError : Error { using Error::Error; };
struct ValueError : Error { using Error::Error; };

// Cold: compiled for size, since there are hundreds of combinations of parts.
template <class... Parts> [[gnu::cold, gnu::noinline]] std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace chainrule

// CR_CHECK(sizes_match, "mul: shapes ", a, " and ", b, " cannot be broadcast"): name the op, the values and the rule.
#define CR_CHECK_AS(Kind, condition, ...)         \
  do {                                            \
    if (!(condition)) [[unlikely]]                \
      throw Kind(::chainrule::text(__VA_ARGS__)); \
  } while (false)
#define CR_CHECK(condition, ...) CR_CHECK_AS(::chainrule::Error, condition, __VA_ARGS__)
#define CR_CHECK_INDEX(condition, ...) CR_CHECK_AS(::chainrule::IndexError, condition, __VA_ARGS__)
#define CR_CHECK_TYPE(condition, ...) CR_CHECK_AS(::chainrule::TypeError, condition, __VA_ARGS__)
#define CR_CHECK_VALUE(condition, ...) CR_CHECK_AS(::chainrule::ValueError, condition, __VA_ARGS__)
