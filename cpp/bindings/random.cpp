// Random numbers: the Generator type, and the functions and methods that draw from one.
#include "core/random.h"
#include "bindings/factory.h"
#include "bindings/topics.h"
#include "ops/creation.h"
#include "ops/random.h"

namespace chainrule::python {

PyObject* wrap_device();  // types.cpp
bool is_device(PyObject* o);

namespace {

// ---- Generator ----

struct GeneratorObject { PyObject_HEAD Generator* generator; };
PyTypeObject* generator_type = nullptr;
PyObject* the_default = nullptr;

Generator& unwrap_generator(PyObject* o) { return *reinterpret_cast<GeneratorObject*>(o)->generator; }
Generator& generator_of(const Args& a, int i) {
  return a.has(i) ? unwrap_generator(a.object(i)) : default_generator();
}

PyObject* make_generator(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    static const char* names[] = {"device", nullptr};
    PyObject* device = nullptr;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O:Generator", const_cast<char**>(names), &device))
      throw PythonError();
    if (device != nullptr && !is_device(device)) {
      const Object name = Object::steal(PyObject_Str(device));
      throw Error(text("Generator: device '", PyUnicode_AsUTF8(name.get()),
                       "' is not available: chainrule runs on 'cpu' only"));
    }
    Object made = Object::steal(type->tp_alloc(type, 0));
    reinterpret_cast<GeneratorObject*>(made.get())->generator = new Generator;
    return made.release();
  });
}

void free_generator(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  if (self != the_default) delete reinterpret_cast<GeneratorObject*>(self)->generator;
  type->tp_free(self);
  Py_DECREF(type);
}

// Integers from -2^63 to 2^64 - 1; negative ones count from 2^64.
uint64_t read_seed(PyObject* o) {
  CR_CHECK_TYPE(PyIndex_Check(o) || PyFloat_Check(o),
                "manual_seed(): argument 'seed' (position 1) must be int, not ", Py_TYPE(o)->tp_name);
  const Object number = Object::steal(PyFloat_Check(o) ? PyNumber_Long(o) : PyNumber_Index(o));
  int overflow = 0;
  const long long v = PyLong_AsLongLongAndOverflow(number.get(), &overflow);
  if (overflow == 0) return static_cast<uint64_t>(v);
  const unsigned long long large = overflow > 0 ? PyLong_AsUnsignedLongLong(number.get()) : 0;
  const bool fits = overflow > 0 && PyErr_Occurred() == nullptr;
  PyErr_Clear();
  CR_CHECK_VALUE(fits, "manual_seed(): the seed must be in [-2^63, 2^64 - 1]");
  return large;
}

void manual_seed(Generator& g, PyObject* seed) {
  const uint64_t value = read_seed(seed);
  std::lock_guard lock(g.mutex);
  g.manual_seed(value);
}

uint64_t seed_anew(Generator& g) {
  std::lock_guard lock(g.mutex);
  return g.seed();
}

Tensor get_state(const Generator& g) {
  Tensor t = empty({static_cast<int64_t>(Generator::kStateBytes)}, DType::UInt8);
  std::lock_guard lock(g.mutex);
  g.get_state(t.data<uint8_t>());
  return t;
}

void set_state(Generator& g, PyObject* o) {
  CR_CHECK_TYPE(is_tensor(o) && unwrap(o).dtype() == DType::UInt8,
                "set_state: the state of a generator is a uint8 tensor, not ",
                is_tensor(o) ? name_of(unwrap(o).dtype()) : Py_TYPE(o)->tp_name);
  const Tensor t = unwrap(o);
  CR_CHECK(t.numel() == static_cast<int64_t>(Generator::kStateBytes) && t.is_contiguous(),
           "set_state: the state of a generator has ", Generator::kStateBytes,
           " contiguous bytes, got shape ", t.sizes());
  std::lock_guard lock(g.mutex);
  CR_CHECK(g.set_state(t.data<uint8_t>()), "set_state: these bytes are not the state of a generator");
}

template <class F> PyObject* generator_method(PyObject* self, F&& f) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* { return f(unwrap_generator(self)); });
}

PyMethodDef generator_methods[] = {
    {"manual_seed",
     [](PyObject* self, PyObject* seed) {
       return generator_method(self, [&](Generator& g) {
         manual_seed(g, seed);
         return Py_NewRef(self);
       });
     },
     METH_O, "manual_seed($self, seed, /)\n--\n\nSet the seed, and return the generator."},
    {"seed",
     [](PyObject* self, PyObject*) {
       return generator_method(self, [](Generator& g) { return PyLong_FromUnsignedLongLong(seed_anew(g)); });
     },
     METH_NOARGS, "seed($self, /)\n--\n\nSeed from the machine's entropy, and return the seed."},
    {"initial_seed",
     [](PyObject* self, PyObject*) {
       return generator_method(self,
                               [](Generator& g) { return PyLong_FromUnsignedLongLong(g.initial_seed()); });
     },
     METH_NOARGS, "initial_seed($self, /)\n--\n\nThe seed that was set last."},
    {"get_state",
     [](PyObject* self, PyObject*) {
       return generator_method(self, [](Generator& g) { return wrap(get_state(g)); });
     },
     METH_NOARGS, "get_state($self, /)\n--\n\nThe state as a uint8 tensor, in PyTorch's layout."},
    {"set_state",
     [](PyObject* self, PyObject* state) {
       return generator_method(self, [&](Generator& g) {
         set_state(g, state);
         return Py_NewRef(self);
       });
     },
     METH_O, "set_state($self, new_state, /)\n--\n\nContinue from a state that get_state returned."},
    {"__setstate__",
     [](PyObject* self, PyObject* state) {
       return generator_method(self, [&](Generator& g) {
         set_state(g, state);
         return Py_NewRef(Py_None);
       });
     },
     METH_O, nullptr},
    {"__reduce__",
     [](PyObject* self, PyObject*) {
       return generator_method(
           self, [&](Generator& g) { return Py_BuildValue("O()N", Py_TYPE(self), wrap(get_state(g))); });
     },
     METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef generator_attributes[] = {{"device", [](PyObject*, void*) { return wrap_device(); }, nullptr,
                                       "The device, which is the CPU.", nullptr},
                                      {}};

void make_generator_type(PyObject* module) {
  static const char doc[] =
      "Generator(device='cpu')\n--\n\nA source of random numbers: PyTorch's CPU generator, a Mersenne twister.";
  PyType_Slot slots[] = {{Py_tp_doc, const_cast<char*>(doc)},
                         {Py_tp_new, reinterpret_cast<void*>(make_generator)},
                         {Py_tp_dealloc, reinterpret_cast<void*>(free_generator)},
                         {Py_tp_methods, generator_methods},
                         {Py_tp_getset, generator_attributes},
                         {0, nullptr}};
  PyType_Spec spec{"chainrule.Generator", sizeof(GeneratorObject), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
  const Object type = Object::steal(PyType_FromSpec(&spec));
  generator_type = reinterpret_cast<PyTypeObject*>(type.get());
  Py_INCREF(generator_type);
  the_default = Object::steal(generator_type->tp_alloc(generator_type, 0)).release();
  reinterpret_cast<GeneratorObject*>(the_default)->generator = &default_generator();
  if (PyModule_AddObjectRef(module, "Generator", type.get()) < 0 ||
      PyModule_AddObjectRef(module, "default_generator", the_default) < 0)
    throw PythonError();
}

// ---- Functions that make a tensor ----

using Fill = const Tensor& (*)(const Tensor&, double, double, Generator&);

template <Fill fill> PyObject* drawn(Args& a) {
  const Factory f{a, 3, 2};
  return f.result(fill(empty(a.dims(0), f.dtype(default_dtype())), 0, 1, generator_of(a, 1)));
}
template <Fill fill> PyObject* drawn_like(Args& a) {
  const Factory f{a, 2};
  const Tensor x = a.tensor(0);
  return f.result(fill(empty_as(x, f.dtype(x.dtype())), 0, 1, generator_of(a, 1)));
}

int64_t read_int(const char* op, const char* name, PyObject* o) {
  CR_CHECK_TYPE(PyIndex_Check(o) && !PyTuple_Check(o), op, "(): argument '", name, "' must be int, not ",
                Py_TYPE(o)->tp_name);
  const Object index = Object::steal(PyNumber_Index(o));
  const int64_t v = PyLong_AsLongLong(index.get());
  if (v == -1 && PyErr_Occurred() != nullptr) throw PythonError();
  return v;
}

Dims read_size(const char* op, PyObject* o) {
  CR_CHECK_TYPE(PyTuple_Check(o) || PyList_Check(o), op, "(): argument 'size' must be tuple of ints, not ",
                Py_TYPE(o)->tp_name);
  Dims sizes;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(o); ++i)
    sizes.push_back(read_int(op, "size", PySequence_Fast_ITEMS(o)[i]));
  return sizes;
}

// randint(high, size) or randint(low, high, size), in order or by name.
PyObject* randint(Args& a) {
  const Factory f{a, 5, 4};
  PyObject *low = a.object(0), *high = a.object(1), *size = a.object(2);
  if (size == Py_None && high != Py_None && !PyIndex_Check(high)) std::swap(size, high);
  if (high == Py_None) std::swap(low, high);
  CR_CHECK_TYPE(high != Py_None, "randint() missing required argument 'high'");
  CR_CHECK_TYPE(size != Py_None, "randint() missing required argument 'size'");
  const int64_t from = low == Py_None ? 0 : read_int("randint", "low", low);
  const int64_t to = read_int("randint", "high", high);
  return f.result(
      random_(empty(read_size("randint", size), f.dtype(DType::Int64)), from, to, generator_of(a, 3)));
}

PyObject* randint_like(Args& a) {
  const Factory f{a, 4};
  CR_CHECK_TYPE(a.has(1) || a.has(2), "randint_like() missing required argument 'high'");
  const bool both = a.has(1) && a.has(2);
  const int64_t from = both ? a.integer(1) : 0, to = a.integer(a.has(2) ? 2 : 1);
  const Tensor x = a.tensor(0);
  return f.result(random_(empty_as(x, f.dtype(x.dtype())), from, to, generator_of(a, 3)));
}

PyObject* normal_of(Args& a) {
  const Factory f{a, 5, 4};
  Generator& g = generator_of(a, 3);
  const bool means = is_tensor(a.object(0)), deviations = is_tensor(a.object(1));
  CR_CHECK_TYPE(a.has(2) != (means || deviations),
                "normal(): takes a size exactly when neither mean nor std is a tensor");
  if (a.has(2))
    return f.result(normal_(empty(a.dims(2), f.dtype(default_dtype())), a.number(0), a.number(1), g));
  if (means && deviations) return f.result(normal(a.tensor(0), a.tensor(1), g));
  return f.result(means ? normal(a.tensor(0), a.number(1), g) : normal(a.number(0), a.tensor(1), g));
}

PyObject* bernoulli_of(Args& a) {
  const Tensor x = a.tensor(0);
  Generator& g = generator_of(a, 2);
  return a.result(a.has(1) ? bernoulli_(empty_as(x), a.number(1), g) : bernoulli(x, g), 3);
}

PyObject* multinomial_of(Args& a) {
  CR_CHECK(!a.has(4) || a.tensor(4).dtype() == DType::Int64,
           "multinomial: expects an int64 tensor as out, got ", name_of(a.tensor(4).dtype()));
  return a.result(multinomial(a.tensor(0), a.integer(1), a.flag(2), generator_of(a, 3)), 4);
}

// ---- Methods that fill ----

// random_(), random_(to), random_(from, to), random_(from, None): an argument that was not given is `...`.
PyObject* random_fill(Args& a) {
  PyObject *from = a.object(1), *to = a.object(2);
  Generator& g = generator_of(a, 3);
  const Tensor x = a.tensor(0);
  if (from == Py_Ellipsis && to == Py_Ellipsis) {
    random_(x, g);
  } else if (from == Py_Ellipsis || to == Py_Ellipsis) {
    random_(x, 0, read_int("random_", "to", from == Py_Ellipsis ? to : from), g);
  } else {
    const int64_t first = read_int("random_", "from", from);
    random_(x, first, to == Py_None ? std::nullopt : std::optional(read_int("random_", "to", to)), g);
  }
  return Py_NewRef(a.object(0));
}

PyObject* bernoulli_fill(Args& a) {
  Generator& g = generator_of(a, 2);
  if (is_tensor(a.object(1)))
    bernoulli_(a.tensor(0), a.tensor(1), g);
  else
    bernoulli_(a.tensor(0), a.number(1), g);
  return Py_NewRef(a.object(0));
}

PyObject* dropout_of(Args& a) {
  if (!a.flag(3)) return wrap(dropout(a.tensor(0), a.number(1), a.flag(2), default_generator()));
  dropout_(a.tensor(0), a.number(1), a.flag(2), default_generator());
  return Py_NewRef(a.object(0));
}

}  // namespace

bool is_generator(PyObject* o) { return PyObject_TypeCheck(o, generator_type); }

void bind_random(Bind& core, Bind& nn) {
  make_generator_type(core.module());
  const auto function = Where::Function, method = Where::Method;

  core.op(
      "manual_seed(object seed) -> Generator",
      [](Args& a) {
        manual_seed(default_generator(), a.object(0));
        return Py_NewRef(the_default);
      },
      function, "Seed the default generator, and return it.");
  core.op(
      "seed() -> int", [](Args&) { return PyLong_FromUnsignedLongLong(seed_anew(default_generator())); },
      function, "Seed the default generator from the machine's entropy, and return the seed.");
  core.op(
      "initial_seed() -> int",
      [](Args&) { return PyLong_FromUnsignedLongLong(default_generator().initial_seed()); }, function,
      "The seed of the default generator that was set last.");
  core.op(
      "get_rng_state() -> Tensor", [](Args&) { return wrap(get_state(default_generator())); }, function,
      "The state of the default generator, as a uint8 tensor in PyTorch's layout.");
  core.op(
      "set_rng_state(object new_state) -> None",
      [](Args& a) {
        set_state(default_generator(), a.object(0));
        return Py_NewRef(Py_None);
      },
      function, "Continue from a state that get_rng_state returned.");

#define CR_DRAWN "Generator? generator=None, Tensor? out=None, " CR_FACTORY
  core.op("rand(*int[] size, *, " CR_DRAWN ") -> Tensor", drawn<uniform_>, function,
          "Uniform numbers in [0, 1).");
  core.op("randn(*int[] size, *, " CR_DRAWN ") -> Tensor", drawn<normal_>, function,
          "Standard normal numbers.");
  core.op(
      "randint(object low=None, object high=None, object size=None, *, " CR_DRAWN ") -> Tensor", randint,
      function,
      "randint(high, size) or randint(low, high, size): integers from low, which is 0 if left out, to high - 1.");
  core.op(
      "randperm(int n, *, " CR_DRAWN ") -> Tensor",
      [](Args& a) {
        const Factory f{a, 3, 2};
        return f.result(randperm(a.integer(0), f.dtype(DType::Int64), generator_of(a, 1)));
      },
      function, "0 to n - 1 in random order.");
  core.op("normal(Operand mean=0.0, Operand std=1.0, int[]? size=None, *, " CR_DRAWN ") -> Tensor", normal_of,
          function, "Normal numbers: one for each mean and std, or a whole size of them.");
#undef CR_DRAWN
  core.op("rand_like(Tensor self, *, Generator? generator=None, " CR_FACTORY ") -> Tensor",
          drawn_like<uniform_>, function);
  core.op("randn_like(Tensor self, *, Generator? generator=None, " CR_FACTORY ") -> Tensor",
          drawn_like<normal_>, function);
  core.op("randint_like(Tensor self, int? low=None, int? high=None, *, Generator? generator=None, " CR_FACTORY
          ") -> Tensor",
          randint_like, function);
  core.op("bernoulli(Tensor self, float? p=None, *, Generator? generator=None, Tensor? out=None) -> Tensor",
          bernoulli_of, Where::Both, "Ones with probability self, or p, and zeros.");
  core.op(
      "multinomial(Tensor self, int num_samples, bool replacement=False, *, Generator? generator=None, "
      "Tensor? out=None) -> Tensor",
      multinomial_of, Where::Both, "Indices drawn with the weights in each row of self.");

  core.op(
      "uniform_(Tensor self, float from=0.0, float to=1.0, *, Generator? generator=None) -> Tensor",
      [](Args& a) {
        uniform_(a.tensor(0), a.number(1), a.number(2), generator_of(a, 3));
        return Py_NewRef(a.object(0));
      },
      method);
  core.op(
      "normal_(Tensor self, float mean=0.0, float std=1.0, *, Generator? generator=None) -> Tensor",
      [](Args& a) {
        normal_(a.tensor(0), a.number(1), a.number(2), generator_of(a, 3));
        return Py_NewRef(a.object(0));
      },
      method);
  core.op(
      "exponential_(Tensor self, float lambd=1.0, *, Generator? generator=None) -> Tensor",
      [](Args& a) {
        exponential_(a.tensor(0), a.number(1), generator_of(a, 2));
        return Py_NewRef(a.object(0));
      },
      method);
  core.op(
      "random_(Tensor self, object from=..., object? to=..., *, Generator? generator=None) -> Tensor",
      random_fill, method,
      "random_(), random_(to), random_(from, to): integers; without bounds, all that the dtype can tell apart.");
  core.op("bernoulli_(Tensor self, Operand p=0.5, *, Generator? generator=None) -> Tensor", bernoulli_fill,
          method);

  nn.op("dropout(Tensor input, float p=0.5, bool training=True, bool inplace=False) -> Tensor", dropout_of,
        function, "Zeros with probability p, and the rest divided by 1 - p.");
}

}  // namespace chainrule::python
