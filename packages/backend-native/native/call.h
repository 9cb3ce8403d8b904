#pragma once
#define NAPI_VERSION 8
#include <node_api.h>

#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>

#include "values.h"
#include "vector_products.h"

namespace lft {

// The arguments of one call.
class Call {
 public:
  Call(napi_env env, napi_callback_info info) : env_(env) {
    size_t count = 24;
    napi_get_cb_info(env, info, &count, values_, nullptr, nullptr);
  }

  double Number(int i) const {
    double value = 0;
    napi_get_value_double(env_, values_[i], &value);
    return value;
  }
  int64_t Int(int i) const { return static_cast<int64_t>(Number(i)); }
  bool Bool(int i) const { return Number(i) != 0; }

  // An address, or the data of a typed array; nullptr for 0. An address whose lowest bit is set is of bf16 values.
  template <typename T>
  T* Data(int i) const {
    napi_valuetype type;
    napi_typeof(env_, values_[i], &type);
    if (type == napi_number) return reinterpret_cast<T*>(static_cast<uintptr_t>(Number(i)) & ~uintptr_t{1});
    void* data = nullptr;
    napi_get_typedarray_info(env_, values_[i], nullptr, nullptr, &data, nullptr, nullptr);
    return static_cast<T*>(data);
  }

  // bf16 for a Uint16Array or an address that says so, else f32.
  Type TypeOf(int i) const {
    napi_valuetype type;
    napi_typeof(env_, values_[i], &type);
    if (type == napi_number) return static_cast<uintptr_t>(Number(i)) & 1 ? Type::kBf16 : Type::kF32;
    napi_typedarray_type array;
    napi_get_typedarray_info(env_, values_[i], &array, nullptr, nullptr, nullptr, nullptr);
    return array == napi_uint16_array ? Type::kBf16 : Type::kF32;
  }

  Values Tensor(int i) const { return {Data<void>(i), TypeOf(i)}; }

  // Of a frozen weight's values or codes.
  FrozenMatrix::Format FormatOf(int i) const {
    using Format = FrozenMatrix::Format;
    napi_typedarray_type type;
    napi_get_typedarray_info(env_, values_[i], &type, nullptr, nullptr, nullptr, nullptr);
    if (type == napi_int8_array) return Format::kInt8;
    if (type == napi_uint8_array) return Format::kNf4;
    return type == napi_uint16_array ? Format::kBf16 : Format::kF32;
  }

  size_t Bytes(int i) const {
    napi_typedarray_type type;
    size_t length;
    napi_get_typedarray_info(env_, values_[i], &type, &length, nullptr, nullptr, nullptr);
    switch (type) {
      case napi_int8_array:
      case napi_uint8_array:
      case napi_uint8_clamped_array: return length;
      case napi_int16_array:
      case napi_uint16_array: return length * 2;
      case napi_float64_array:
      case napi_bigint64_array:
      case napi_biguint64_array: return length * 8;
      default: return length * 4;
    }
  }

  // A Float64Array of integers, e.g. a shape.
  int Integers(int i, int64_t* out) const {
    size_t length;
    void* data;
    napi_get_typedarray_info(env_, values_[i], nullptr, &length, &data, nullptr, nullptr);
    for (size_t k = 0; k < length && k < 8; k++) out[k] = static_cast<int64_t>(static_cast<double*>(data)[k]);
    return static_cast<int>(length);
  }

  std::string Text(int i) const {
    char text[4096];
    size_t length = 0;
    napi_get_value_string_utf8(env_, values_[i], text, sizeof(text), &length);
    return std::string(text, length);
  }

  napi_env env_;
  napi_value values_[24];
};

inline napi_value FromDouble(napi_env env, double value) {
  napi_value result;
  napi_create_double(env, value, &result);
  return result;
}

// Turns what a kernel throws into a JavaScript error; the process stays alive.
template <napi_value (*Body)(Call&)>
napi_value Guarded(napi_env env, napi_callback_info info) {
  Call call(env, info);
  try {
    return Body(call);
  } catch (const std::bad_alloc&) {
    napi_throw_error(env, "LFT_OUT_OF_MEMORY", "out of memory");
  } catch (const std::exception& error) {
    napi_throw_error(env, "LFT_NATIVE", error.what());
  }
  return nullptr;
}

}  // namespace lft
