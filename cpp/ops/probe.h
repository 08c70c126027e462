// Probe: run through a line of the table at compile time, it tells which of g, x (a, b) and y the derivative uses, and
// so what an op must save. Nobody annotates it, nobody can get it wrong.
#pragma once

namespace chainrule::neutral {

struct Probe {
  bool first = false, second = false, result = false;  // depends on x or a; on b; on y
  constexpr Probe() = default;
  constexpr Probe(bool f, bool s, bool r) : first(f), second(s), result(r) {}
  constexpr Probe(double) {}
  friend constexpr Probe operator|(Probe a, Probe b) {
    return {a.first || b.first, a.second || b.second, a.result || b.result};
  }
};
#define CR_PROBE_OPERATOR(op) \
  constexpr Probe operator op(Probe a, Probe b) { return a | b; }
CR_PROBE_OPERATOR(+)
CR_PROBE_OPERATOR(-)
CR_PROBE_OPERATOR(*)
CR_PROBE_OPERATOR(/)
CR_PROBE_OPERATOR(<)
CR_PROBE_OPERATOR(<=)
CR_PROBE_OPERATOR(>)
CR_PROBE_OPERATOR(>=)
CR_PROBE_OPERATOR(==)
CR_PROBE_OPERATOR(!=)
CR_PROBE_OPERATOR(&&)
#undef CR_PROBE_OPERATOR
constexpr Probe operator-(Probe a) { return a; }
constexpr Probe zero(Probe) { return {}; }
#define CR_PROBE_FUNCTION(name) \
  constexpr Probe name(Probe a) { return a; }
CR_PROBE_FUNCTION(exp)
CR_PROBE_FUNCTION(log)
CR_PROBE_FUNCTION(sqrt)
CR_PROBE_FUNCTION(sin)
CR_PROBE_FUNCTION(cos)
CR_PROBE_FUNCTION(sinh)
CR_PROBE_FUNCTION(cosh)
CR_PROBE_FUNCTION(tanh)
CR_PROBE_FUNCTION(log1p)
CR_PROBE_FUNCTION(sigmoid)
CR_PROBE_FUNCTION(erfc)
CR_PROBE_FUNCTION(square)
CR_PROBE_FUNCTION(sign)
CR_PROBE_FUNCTION(trunc)
CR_PROBE_FUNCTION(floor)
#undef CR_PROBE_FUNCTION
constexpr Probe pow(Probe a, Probe b) { return a | b; }
constexpr Probe where(Probe c, Probe a, Probe b) { return c | a | b; }

}  // namespace chainrule::neutral
