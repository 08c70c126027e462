#include "ops/random.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "autograd/record.h"
#include "core/loop.h"
#include "core/shape_checks.h"
#include "ops/creation.h"
#include "ops/elementwise.h"
#include "ops/fill.h"

namespace chainrule {
namespace {

// ---- Kernels: each draws a tensor's elements in the order in which they lie in memory ----

// Calls fill(data, n) on t's elements, or on a dense copy of the holes in t.
template <class F> void in_memory_order(const Tensor& t, F&& fill) {
  if (is_dense(t)) return fill(static_cast<void*>(t.bytes()), t.numel());
  Dims order, sizes, strides;
  for (int i = 0; i < t.dim(); ++i) order.push_back(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return std::abs(t.stride(a)) > std::abs(t.stride(b)); });
  for (int64_t d : order) {
    sizes.push_back(t.size(d));
    strides.push_back(t.stride(d));
  }
  const Tensor dense = empty(sizes, t.dtype());
  fill(static_cast<void*>(dense.bytes()), dense.numel());
  copy_elements(alias(t, sizes, strides), dense);
}

struct DrawAttrs {
  Generator* generator;
  double a = 0, b = 0;
};
template <void (*fill)(const DrawAttrs&, const Tensor&, void*, int64_t)> void run_draw(const Launch& l) {
  const auto& attrs = l.attrs<DrawAttrs>();
  in_memory_order(l.out(0), [&](void* data, int64_t n) { fill(attrs, l.out(0), data, n); });
}
template <void (*fill)(const DrawAttrs&, const Tensor&, void*, int64_t)> constexpr Primitive draw(
    const char* name) {
  return {name, run_draw<fill>, sizeof(DrawAttrs)};
}

const Primitive kUniform = draw<[](const DrawAttrs& a, const Tensor& t, void* data, int64_t n) {
  fill_uniform(*a.generator, t.dtype(), data, n, a.a, a.b);
}>("uniform");
const Primitive kNormal = draw<[](const DrawAttrs& a, const Tensor& t, void* data, int64_t n) {
  fill_normal(*a.generator, t.dtype(), data, n, a.a, a.b, t.is_contiguous());
}>("normal");
const Primitive kExponential = draw<[](const DrawAttrs& a, const Tensor& t, void* data, int64_t n) {
  fill_exponential(*a.generator, t.dtype(), data, n, a.a);
}>("exponential");
const Primitive kBernoulli = draw<[](const DrawAttrs& a, const Tensor& t, void* data, int64_t n) {
  fill_bernoulli(*a.generator, t.dtype(), data, n, a.a);
}>("bernoulli");
const Primitive kDropout = draw<[](const DrawAttrs& a, const Tensor& t, void* data, int64_t n) {
  fill_dropout(*a.generator, t.dtype(), data, n, a.a);
}>("dropout_mask");
const Primitive kAllIntegers = draw<[](const DrawAttrs& a, const Tensor& t, void* data, int64_t n) {
  fill_integers(*a.generator, t.dtype(), data, n);
}>("random");
const Primitive kPermutation = draw<[](const DrawAttrs& a, const Tensor& t, void* data, int64_t n) {
  fill_permutation(*a.generator, t.dtype(), data, n);
}>("randperm");

struct IntegersAttrs {
  Generator* generator;
  uint64_t range;
  int64_t base;
};
const Primitive kIntegers{"random",
                          [](const Launch& l) {
                            const auto& a = l.attrs<IntegersAttrs>();
                            const Tensor& t = l.out(0);
                            in_memory_order(t, [&](void* data, int64_t n) {
                              fill_integers(*a.generator, t.dtype(), data, n, a.range, a.base);
                            });
                          },
                          sizeof(IntegersAttrs)};

// in(0): probabilities in the layout of out(0).
const Primitive kBernoulliEach{"bernoulli",
                               [](const Launch& l) {
                                 const Tensor &t = l.out(0), &p = l.in(0);
                                 fill_bernoulli(*l.attrs<DrawAttrs>().generator, t.dtype(), t.bytes(),
                                                t.numel(), p.dtype(), p.bytes());
                               },
                               sizeof(DrawAttrs)};

struct MultinomialAttrs {
  Generator* generator;
  int64_t rows, categories, samples;
  bool replacement;
};
const Primitive kMultinomial{"multinomial",
                             [](const Launch& l) {
                               const auto& a = l.attrs<MultinomialAttrs>();
                               draw_multinomial(*a.generator, l.in(0).dtype(), l.in(0).bytes(),
                                                l.out(0).data<int64_t>(), a.rows, a.categories, a.samples,
                                                a.replacement);
                             },
                             sizeof(MultinomialAttrs)};

// ---- What they share ----

void check_floating(const char* op, const Tensor& x) {
  CR_CHECK(x.is_floating(), op, ": expected a floating-point tensor, got ", name_of(x.dtype()));
}

// Runs write(), which overwrites x; nothing flows back to what x held before.
template <class F> const Tensor& overwrite(const char* op, const char* name, const Tensor& x, F&& write) {
  before_write(op, x);
  const bool recorded = recording(x);
  write();
  if (recorded) return record_write(name, x, {&x}, [](const Tensor&) { return Tensor(); });
  x.count_write();
  return x;
}

void check_probabilities(const char* op, const Tensor& p) {
  check_floating(op, p);
  visit_floating(p.dtype(), [&](auto v) {
    using T = decltype(v);
    const T* first = p.data<T>();
    const T* bad = std::find_if_not(first, first + p.numel(), [](T x) { return x >= 0 && x <= 1; });
    CR_CHECK(bad == first + p.numel(), op, ": probabilities must be in [0, 1], but found ", *bad);
  });
}

// Contiguous, of another type if asked, outside of any graph.
Tensor plain_copy(const Tensor& t, const Dims& sizes) {
  if (t.is_contiguous() && t.sizes() == sizes) return t;
  const Tensor copy = empty(sizes, t.dtype());
  copy_elements(copy, t);
  return copy;
}

}  // namespace

const Tensor& uniform_(const Tensor& x, double from, double to, Generator& g) {
  check_floating("uniform_", x);
  CR_CHECK(from <= to, "uniform_ expects to return a [from, to) range, but found from=", from, " > to=", to);
  const double limit =
      x.dtype() == DType::Float32 ? std::numeric_limits<float>::max() : std::numeric_limits<double>::max();
  CR_CHECK(std::abs(from) <= limit && std::abs(to) <= limit && to - from <= limit, "uniform_: from=", from,
           ", to=", to, ": the bounds and to-from must fit in ", name_of(x.dtype()));
  return overwrite("uniform_", "uniform", x, [&] { launch(kUniform, {&x}, {}, DrawAttrs{&g, from, to}); });
}

const Tensor& normal_(const Tensor& x, double mean, double std, Generator& g) {
  check_floating("normal_", x);
  CR_CHECK(std >= 0, "normal_ expects std >= 0.0, but found std ", std);
  return overwrite("normal_", "normal", x, [&] { launch(kNormal, {&x}, {}, DrawAttrs{&g, mean, std}); });
}

const Tensor& exponential_(const Tensor& x, double lambda, Generator& g) {
  check_floating("exponential_", x);
  CR_CHECK(lambda > 0, "exponential_ expects lambda > 0.0, but found lambda=", lambda);
  return overwrite("exponential_", "exponential", x,
                   [&] { launch(kExponential, {&x}, {}, DrawAttrs{&g, lambda}); });
}

const Tensor& bernoulli_(const Tensor& x, double p, Generator& g) {
  CR_CHECK(p >= 0 && p <= 1, "bernoulli_ expects p to be in [0, 1], but got p=", p);
  return overwrite("bernoulli_", "bernoulli", x, [&] { launch(kBernoulli, {&x}, {}, DrawAttrs{&g, p}); });
}

const Tensor& bernoulli_(const Tensor& x, const Tensor& p, Generator& g) {
  CR_CHECK(broadcast_shapes("bernoulli_", x.sizes(), p.sizes()) == x.sizes(),
           "bernoulli_: probabilities of shape ", p.sizes(), " do not broadcast to shape ", x.sizes());
  const Tensor each = plain_copy(p, x.sizes());
  check_probabilities("bernoulli_", each);
  return overwrite("bernoulli_", "bernoulli", x, [&] {
    const Tensor drawn = x.is_contiguous() ? x : empty(x.sizes(), x.dtype());
    launch(kBernoulliEach, {&drawn}, {&each}, DrawAttrs{&g});
    if (!drawn.same(x)) copy_elements(x, drawn);
  });
}

const Tensor& random_(const Tensor& x, Generator& g) {
  return overwrite("random_", "random", x, [&] { launch(kAllIntegers, {&x}, {}, DrawAttrs{&g}); });
}

namespace {

// A floating type does not hold every integer: bounds that it rounds past are moved to its neighbours inside.
template <class T> int64_t lower_bound_in(int64_t from) {
  const T next = static_cast<T>(from + 1);
  if (next >= T(0x1p63) || static_cast<int64_t>(next) >= from) return from;
  return static_cast<int64_t>(std::nextafter(next, std::numeric_limits<T>::infinity()));
}
template <class T> int64_t upper_bound_in(int64_t to) {
  const T last = static_cast<T>(to - 1);
  if (last < T(0x1p63) && static_cast<int64_t>(last) < to) return to;
  return static_cast<int64_t>(std::nextafter(last, -std::numeric_limits<T>::infinity()));
}

// The integers of a type: up to its maximum, in floating types as far as they are consecutive.
template <class T> constexpr int64_t last_integer() {
  if constexpr (std::is_floating_point_v<T>)
    return int64_t{1} << std::numeric_limits<T>::digits;
  else
    return std::numeric_limits<T>::max();
}

template <class T> void check_bounds(DType dtype, int64_t from, int64_t to) {
  if constexpr (!std::is_floating_point_v<T>) {
    constexpr int64_t low = std::numeric_limits<T>::lowest(), high = std::numeric_limits<T>::max();
    CR_CHECK(from >= low && from <= high, "random_: from=", from, " is out of bounds for ", name_of(dtype));
    CR_CHECK(to - 1 >= low && to - 1 <= high, "random_: to - 1 = ", to - 1, " is out of bounds for ",
             name_of(dtype));
  }
}

}  // namespace

const Tensor& random_(const Tensor& x, int64_t from, std::optional<int64_t> to, Generator& g) {
  uint64_t range = 0;
  visit_dtype(x.dtype(), [&](auto v) {
    using T = decltype(v);
    constexpr bool floating = std::is_floating_point_v<T>;
    if (to) {
      CR_CHECK(from < *to, "random_ expects 'from' to be less than 'to', but got from=", from,
               " >= to=", *to);
      int64_t end = *to;
      if constexpr (floating) {
        from = lower_bound_in<T>(from);
        end = upper_bound_in<T>(end);
        CR_CHECK(from < end, "random_: no number of type ", name_of(x.dtype()),
                 " lies between from and to=", *to);
      }
      check_bounds<T>(x.dtype(), from, end);
      range = static_cast<uint64_t>(end) - static_cast<uint64_t>(from);
      return;
    }
    constexpr int64_t last = last_integer<T>();
    if constexpr (floating) from = lower_bound_in<T>(from);
    CR_CHECK(from < last || (!floating && from == last), "random_ expects 'from' to be at most ", last,
             " in ", name_of(x.dtype()), ", but got from=", from);
    if constexpr (!floating) check_bounds<T>(x.dtype(), from, from + (from < last));
    range = static_cast<uint64_t>(last) - static_cast<uint64_t>(from) + 1;  // 0 stands for all 2^64
  });
  return overwrite("random_", "random", x,
                   [&] { launch(kIntegers, {&x}, {}, IntegersAttrs{&g, range, from}); });
}

Tensor randperm(int64_t n, DType dtype, Generator& g) {
  CR_CHECK(n >= 0, "randperm: n must be non-negative, got ", n);
  CR_CHECK(dtype != DType::Bool, "randperm: not implemented for bool");
  visit_dtype(dtype, [&](auto v) {
    CR_CHECK(n - 1 <= last_integer<decltype(v)>(), "randperm: n = ", n, " is too large for type ",
             name_of(dtype));
  });
  Tensor t = empty({n}, dtype);
  launch(kPermutation, {&t}, {}, DrawAttrs{&g});
  return t;
}

Tensor bernoulli(const Tensor& p, Generator& g) {
  const Tensor each = plain_copy(p, p.sizes());
  check_probabilities("bernoulli", each);
  Tensor y = empty_like(each);
  launch(kBernoulliEach, {&y}, {&each}, DrawAttrs{&g});
  if (!recording(p)) return y;
  return record("bernoulli", y, {&p}, [](const Tensor&) { return Tensor(); });
}

namespace {

Tensor standard_normal(const Dims& sizes, DType dtype, double std, Generator& g) {
  Tensor z = empty(sizes, dtype);
  launch(kNormal, {&z}, {}, DrawAttrs{&g, 0, std});
  return z;
}

void check_deviations(const Tensor& std) {
  check_floating("normal", std);
  const Tensor each = plain_copy(std, std.sizes());
  visit_floating(each.dtype(), [&](auto v) {
    using T = decltype(v);
    const T* first = each.data<T>();
    CR_CHECK(std::all_of(first, first + each.numel(), [](T x) { return x >= 0; }),
             "normal expects all elements of std >= 0.0");
  });
}

}  // namespace

Tensor normal(const Tensor& mean, const Tensor& std, Generator& g) {
  check_floating("normal", mean);
  check_deviations(std);
  const Dims sizes = broadcast_shapes("normal", mean.sizes(), std.sizes());
  Tensor y;
  {
    NoGrad no_grad;
    y = add(mul(standard_normal(sizes, result_type(mean, std), 1, g), std), mean);
  }
  if (!recording(mean, std)) return y;
  return record("normal", y, {&mean, &std}, [](const Tensor&) { return std::array<Tensor, 2>{}; });
}

Tensor normal(const Tensor& mean, double std, Generator& g) {
  check_floating("normal", mean);
  CR_CHECK(std >= 0, "normal expects std >= 0.0, but found std ", std);
  Tensor y;
  {
    NoGrad no_grad;
    y = add(standard_normal(mean.sizes(), mean.dtype(), std, g), mean);
  }
  if (!recording(mean)) return y;
  return record("normal", y, {&mean}, [](const Tensor&) { return Tensor(); });
}

Tensor normal(double mean, const Tensor& std, Generator& g) {
  check_deviations(std);
  Tensor y;
  {
    NoGrad no_grad;
    y = add(mul(standard_normal(std.sizes(), std.dtype(), 1, g), std), Scalar(mean));
  }
  if (!recording(std)) return y;
  return record("normal", y, {&std}, [](const Tensor&) { return Tensor(); });
}

Tensor multinomial(const Tensor& weights, int64_t samples, bool replacement, Generator& g) {
  check_floating("multinomial", weights);
  CR_CHECK(weights.dim() == 1 || weights.dim() == 2,
           "multinomial: the weights must have 1 or 2 dimensions, got shape ", weights.sizes());
  const int64_t categories = weights.size(-1), rows = weights.dim() == 2 ? weights.size(0) : 1;
  CR_CHECK(samples > 0, "multinomial: cannot sample n_sample <= 0 samples, got ", samples);
  CR_CHECK(replacement || samples <= categories, "multinomial: cannot sample ", samples, " of ", categories,
           " categories without replacement");
  CR_CHECK(categories > 0 && categories <= (int64_t{1} << 24),
           "multinomial: the number of categories must be in [1, 2^24], got ", categories);
  const Tensor w = plain_copy(weights, weights.sizes());
  visit_floating(w.dtype(), [&](auto v) {
    using T = decltype(v);
    for (int64_t i = 0; i < rows; ++i) {
      const T* row = w.data<T>() + i * categories;
      bool wrong = false, any = false;
      for (int64_t j = 0; j < categories; ++j) {
        wrong |= !((row[j] >= 0) & (row[j] < std::numeric_limits<T>::infinity()));
        any |= row[j] > 0;
      }
      for (int64_t j = 0; wrong && j < categories; ++j)
        CR_CHECK(row[j] >= 0 && std::isfinite(row[j]),
                 "multinomial: probability tensor contains either `inf`, `nan` or element < 0: ", row[j]);
      CR_CHECK(any, "multinomial: invalid multinomial distribution (sum of probabilities <= 0)");
    }
  });
  Tensor y = empty(weights.dim() == 2 ? Dims{rows, samples} : Dims{samples}, DType::Int64);
  launch(kMultinomial, {&y}, {&w}, MultinomialAttrs{&g, rows, categories, samples, replacement});
  return y;
}

namespace {

Tensor dropout_mask(const Tensor& x, double p, Generator& g) {
  if (p == 1) return zeros_like(x);
  Tensor mask = empty_as(x);
  launch(kDropout, {&mask}, {}, DrawAttrs{&g, p});
  return mask;
}

bool nothing_to_drop(const Tensor& x, double p, bool training) {
  CR_CHECK_VALUE(p >= 0 && p <= 1, "dropout probability has to be between 0 and 1, but got ", p);
  if (!training || p == 0 || x.numel() == 0) return true;
  check_floating("dropout", x);
  return false;
}

}  // namespace

Tensor dropout(const Tensor& x, double p, bool training, Generator& g) {
  return nothing_to_drop(x, p, training) ? x : mul(x, dropout_mask(x, p, g));
}

const Tensor& dropout_(const Tensor& x, double p, bool training, Generator& g) {
  if (nothing_to_drop(x, p, training)) return x;
  return apply_in_place(Binary::mul, x, dropout_mask(x, p, g));
}

}  // namespace chainrule
