// einsum: each operand is brought to one dimension an index (a repeated index takes the diagonal), then operands are joined
// from left to right, each time as one batched matrix product over the indices that nobody needs any more, or as a product
// of elements where there are none. Everything is composed of recorded operations, which is its derivative.
#include "ops/einsum.h"

#include <algorithm>
#include <map>

#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "ops/views.h"

namespace chainrule {
namespace {

// Indices are the letters; the dimensions of an ellipsis count from the end as kEllipsis + 0, 1, ...
constexpr int kEllipsis = 256;
using Labels = std::vector<int>;

struct Operand {
  Tensor t;
  Labels labels;

  int find(int label) const {
    const auto it = std::find(labels.begin(), labels.end(), label);
    return it == labels.end() ? -1 : static_cast<int>(it - labels.begin());
  }
  void drop(int at) { labels.erase(labels.begin() + at); }
};

bool contains(const Labels& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

struct Equation {
  std::vector<std::string> inputs;
  std::string output;
  bool has_output = false;
};

Equation parse(const std::string& equation) {
  Equation e;
  std::string text;
  for (char c : equation)
    if (c != ' ') text += c;
  const size_t arrow = text.find("->");
  std::string left = text;
  if (arrow != std::string::npos) {
    e.has_output = true;
    e.output = text.substr(arrow + 2);
    left = text.substr(0, arrow);
  }
  size_t start = 0;
  for (;;) {
    const size_t comma = left.find(',', start);
    e.inputs.push_back(left.substr(start, comma == std::string::npos ? comma : comma - start));
    if (comma == std::string::npos) return e;
    start = comma + 1;
  }
}

// The labels of one term; `dims` is the number of dimensions that its operand has, or that the ellipsis may take.
Labels labels_of(const std::string& equation, const std::string& term, int ellipsis_dims) {
  Labels labels;
  bool dots = false;
  for (size_t i = 0; i < term.size(); ++i) {
    if (term.compare(i, 3, "...") == 0) {
      CR_CHECK(!dots, "einsum: '", equation, "' has more than one ellipsis in '", term, "'");
      dots = true;
      for (int d = ellipsis_dims - 1; d >= 0; --d) labels.push_back(kEllipsis + d);
      i += 2;
    } else {
      CR_CHECK(std::isalpha(static_cast<unsigned char>(term[i])), "einsum: '", equation,
               "' has the character '", term[i], "' where an index, a letter, was expected");
      labels.push_back(term[i]);
    }
  }
  return labels;
}

int letters_in(const std::string& term) {
  int n = 0;
  for (char c : term) n += c != '.';
  return n;
}

Operand operand_of(const std::string& equation, const std::string& term, const Tensor& t) {
  const bool dots = term.find("...") != std::string::npos;
  const int letters = letters_in(term), rest = t.dim() - letters;
  CR_CHECK(dots ? rest >= 0 : rest == 0, "einsum: the term '", term, "' of '", equation, "' has ", letters,
           " indices, but its operand of shape ", t.sizes(), " has ", t.dim(), " dimensions");
  Operand o{t, labels_of(equation, term, std::max(rest, 0))};
  // A repeated index walks the diagonal.
  for (int i = 0; i < static_cast<int>(o.labels.size()); ++i) {
    for (int j = i + 1; j < static_cast<int>(o.labels.size());) {
      if (o.labels[j] != o.labels[i]) {
        ++j;
        continue;
      }
      CR_CHECK(o.t.size(i) == o.t.size(j), "einsum: index '", static_cast<char>(o.labels[i]), "' of '", term,
               "' is repeated for dimensions of sizes ", o.t.size(i), " and ", o.t.size(j),
               ", which must be equal");
      o.t = movedim(diagonal(o.t, 0, i, j), {-1}, {i});
      o.drop(j);
    }
  }
  return o;
}

Tensor permute_to(const Operand& o, const Labels& order) {
  Dims dims;
  bool same = true;
  for (size_t i = 0; i < order.size(); ++i) {
    dims.push_back(o.find(order[i]));
    same = same && dims.back() == static_cast<int64_t>(i);
  }
  return same ? o.t : permute(o.t, dims);
}

int64_t size_of_labels(const Operand& o, const Labels& labels) {
  int64_t n = 1;
  for (int l : labels) n *= o.t.size(o.find(l));
  return n;
}

void sum_out(Operand& o, const Labels& needed) {
  Dims dims;
  Labels kept;
  for (size_t i = 0; i < o.labels.size(); ++i) {
    if (contains(needed, o.labels[i]))
      kept.push_back(o.labels[i]);
    else
      dims.push_back(static_cast<int64_t>(i));
  }
  if (dims.empty()) return;
  const DType dtype = o.t.dtype();
  o.t = to_dtype(sum(o.t, dims), dtype);
  o.labels = kept;
}

// The product of two operands, summed over the indices that are not needed.
Operand join(Operand a, Operand b, const Labels& needed) {
  Labels keep_a = needed, keep_b = needed;
  keep_a.insert(keep_a.end(), b.labels.begin(), b.labels.end());
  keep_b.insert(keep_b.end(), a.labels.begin(), a.labels.end());
  sum_out(a, keep_a);
  sum_out(b, keep_b);
  Labels batch, rows, cols, inner;
  for (int l : a.labels) {
    if (b.find(l) < 0)
      rows.push_back(l);
    else
      (contains(needed, l) ? batch : inner).push_back(l);
  }
  for (int l : b.labels)
    if (a.find(l) < 0) cols.push_back(l);

  auto order = [](std::initializer_list<const Labels*> parts) {
    Labels all;
    for (const Labels* p : parts) all.insert(all.end(), p->begin(), p->end());
    return all;
  };
  Operand y;
  if (inner.empty()) {  // nothing to sum: element by element, in the order of a
    Labels shared;
    Dims a_sizes = a.t.sizes(), b_sizes;
    for (int l : a.labels) {
      const int at = b.find(l);
      if (at >= 0) shared.push_back(l);
      b_sizes.push_back(at >= 0 ? b.t.size(at) : 1);
    }
    for (int l : cols) {
      a_sizes.push_back(1);
      b_sizes.push_back(b.t.size(b.find(l)));
    }
    y.labels = order({&a.labels, &cols});
    y.t = reshape(a.t, a_sizes) * reshape(permute_to(b, order({&shared, &cols})), b_sizes);
    return y;
  }
  y.labels = order({&batch, &rows, &cols});
  Dims sizes;
  for (int l : y.labels) sizes.push_back(a.find(l) >= 0 ? a.t.size(a.find(l)) : b.t.size(b.find(l)));
  const int64_t n_batch = size_of_labels(a, batch), m = size_of_labels(a, rows), n = size_of_labels(b, cols),
                k = size_of_labels(a, inner);
  const Tensor left = permute_to(a, order({&batch, &rows, &inner}));
  const Tensor right = permute_to(b, order({&batch, &inner, &cols}));
  if (batch.empty())
    y.t = reshape(matmul(reshape(left, {m, k}), reshape(right, {k, n})), sizes);
  else
    y.t = reshape(matmul(reshape(left, {n_batch, m, k}), reshape(right, {n_batch, k, n})), sizes);
  return y;
}

}  // namespace

Tensor einsum(const std::string& equation, const std::vector<Tensor>& operands) {
  CR_CHECK(!operands.empty(), "einsum: at least one operand is needed");
  const Equation e = parse(equation);
  CR_CHECK(e.inputs.size() == operands.size(), "einsum: '", equation, "' has ", e.inputs.size(),
           " terms, but ", operands.size(), " operands were given");
  std::vector<Operand> terms;
  int ellipsis_dims = 0;
  for (size_t i = 0; i < operands.size(); ++i) {
    CR_CHECK(operands[i].dtype() == operands[0].dtype(), "einsum: operands must have one dtype, but got ",
             name_of(operands[0].dtype()), " and ", name_of(operands[i].dtype()));
    terms.push_back(operand_of(equation, e.inputs[i], operands[i]));
    for (int l : terms.back().labels)
      if (l >= kEllipsis) ellipsis_dims = std::max(ellipsis_dims, l - kEllipsis + 1);
  }

  Labels output;
  if (e.has_output) {
    output = labels_of(equation, e.output, ellipsis_dims);
  } else {
    std::map<int, int> count;
    for (const std::string& term : e.inputs)
      for (char c : term)
        if (c != '.') ++count[c];
    for (int d = ellipsis_dims - 1; d >= 0; --d) output.push_back(kEllipsis + d);
    for (const auto& [label, times] : count)
      if (times == 1) output.push_back(label);
  }

  // One size an index; a dimension of size 1 beside a larger one is broadcast: it carries nothing and is dropped.
  std::map<int, int64_t> sizes;
  for (const Operand& o : terms) {
    for (size_t d = 0; d < o.labels.size(); ++d) {
      int64_t& size = sizes.try_emplace(o.labels[d], o.t.size(static_cast<int>(d))).first->second;
      const int64_t here = o.t.size(static_cast<int>(d));
      if (size == 1) size = here;
      CR_CHECK(here == size || here == 1, "einsum: operand of shape ", o.t.sizes(), " in '", equation,
               "' does not fit: its dimension ", d, " has ", here, " elements, the same index has ", size,
               " in another operand");
    }
  }
  for (size_t i = 0; i < output.size(); ++i) {
    CR_CHECK(sizes.count(output[i]), "einsum: the output index '", static_cast<char>(output[i]), "' of '",
             equation, "' appears in no operand");
    CR_CHECK(std::count(output.begin(), output.end(), output[i]) == 1, "einsum: the output index '",
             static_cast<char>(output[i]), "' of '", equation, "' appears twice in the output");
  }
  for (Operand& o : terms) {
    for (int d = static_cast<int>(o.labels.size()) - 1; d >= 0; --d) {
      if (o.t.size(d) == 1 && sizes[o.labels[d]] != 1) {
        o.t = select(o.t, d, 0);
        o.drop(d);
      }
    }
  }

  Operand y = terms[0];
  for (size_t i = 1; i < terms.size(); ++i) {
    Labels needed = output;
    for (size_t j = i + 1; j < terms.size(); ++j)
      needed.insert(needed.end(), terms[j].labels.begin(), terms[j].labels.end());
    y = join(y, terms[i], needed);
  }
  sum_out(y, output);
  return permute_to(y, output);
}

}  // namespace chainrule
