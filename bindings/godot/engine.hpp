// The part of Godot's interface that crossrank.cpp uses: the engine's functions, its values, and a class whose methods GDScript
// can call.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "gdextension_interface.h"

namespace engine {

using Type = GDExtensionVariantType;
constexpr Type BOOL = GDEXTENSION_VARIANT_TYPE_BOOL, INT = GDEXTENSION_VARIANT_TYPE_INT,
               FLOAT = GDEXTENSION_VARIANT_TYPE_FLOAT, STRING = GDEXTENSION_VARIANT_TYPE_STRING,
               STRING_NAME = GDEXTENSION_VARIANT_TYPE_STRING_NAME, DICTIONARY = GDEXTENSION_VARIANT_TYPE_DICTIONARY,
               ARRAY = GDEXTENSION_VARIANT_TYPE_ARRAY, BYTES = GDEXTENSION_VARIANT_TYPE_PACKED_BYTE_ARRAY,
               STRINGS = GDEXTENSION_VARIANT_TYPE_PACKED_STRING_ARRAY;

// Functions of the engine, found by name when the library is loaded.
struct Functions {
    GDExtensionInterfaceGetVariantFromTypeConstructor get_variant_from_type_constructor;
    GDExtensionInterfaceGetVariantToTypeConstructor get_variant_to_type_constructor;
    GDExtensionInterfaceVariantGetPtrConstructor variant_get_ptr_constructor;
    GDExtensionInterfaceVariantGetPtrDestructor variant_get_ptr_destructor;
    GDExtensionInterfaceVariantDestroy variant_destroy;
    GDExtensionInterfaceVariantGetType variant_get_type;
    GDExtensionInterfaceVariantCanConvertStrict variant_can_convert_strict;
    GDExtensionInterfaceVariantCall variant_call;
    GDExtensionInterfaceStringNameNewWithLatin1Chars string_name_new_with_latin1_chars;
    GDExtensionInterfaceStringNewWithUtf8CharsAndLen string_new_with_utf8_chars_and_len;
    GDExtensionInterfaceStringToUtf8Chars string_to_utf8_chars;
    GDExtensionInterfaceArrayOperatorIndexConst array_operator_index_const;
    GDExtensionInterfacePackedStringArrayOperatorIndexConst packed_string_array_operator_index_const;
    GDExtensionInterfacePackedByteArrayOperatorIndexConst packed_byte_array_operator_index_const;
    GDExtensionInterfaceDictionaryOperatorIndex dictionary_operator_index;
    GDExtensionInterfaceClassdbConstructObject classdb_construct_object;
    GDExtensionInterfaceObjectSetInstance object_set_instance;
    GDExtensionInterfaceClassdbRegisterExtensionClass2 classdb_register_extension_class2;
    GDExtensionInterfaceClassdbRegisterExtensionClassMethod classdb_register_extension_class_method;
    GDExtensionInterfaceClassdbRegisterExtensionClassIntegerConstant classdb_register_extension_class_integer_constant;
    GDExtensionInterfaceClassdbUnregisterExtensionClass classdb_unregister_extension_class;
};
inline Functions godot;

// Returns false if one is missing because the engine is too old.
inline bool find_functions(GDExtensionInterfaceGetProcAddress get) {
    bool all = true;
    auto find = [&](auto &function, const char *name) {
        function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(get(name));
        all = all && function;
    };
#define FIND(name) find(godot.name, #name)
    FIND(get_variant_from_type_constructor);
    FIND(get_variant_to_type_constructor);
    FIND(variant_get_ptr_constructor);
    FIND(variant_get_ptr_destructor);
    FIND(variant_destroy);
    FIND(variant_get_type);
    FIND(variant_can_convert_strict);
    FIND(variant_call);
    FIND(string_name_new_with_latin1_chars);
    FIND(string_new_with_utf8_chars_and_len);
    FIND(string_to_utf8_chars);
    FIND(array_operator_index_const);
    FIND(packed_string_array_operator_index_const);
    FIND(packed_byte_array_operator_index_const);
    FIND(dictionary_operator_index);
    FIND(classdb_construct_object);
    FIND(object_set_instance);
    FIND(classdb_register_extension_class2);
    FIND(classdb_register_extension_class_method);
    FIND(classdb_register_extension_class_integer_constant);
    FIND(classdb_unregister_extension_class);
#undef FIND
    return all;
}

// Memory for a value of any of the types above. The largest is a Variant, 40 bytes in an engine built with 64-bit vectors.
struct Room {
    alignas(8) unsigned char bytes[40];
    operator void *() { return bytes; }
};

inline void destroy(Type type, void *value) {
    // Numbers have no destructor.
    if (auto destructor = godot.variant_get_ptr_destructor(type)) destructor(value);
}

// An owned value of a built-in type: its default, or the value of a Variant.
class Value {
public:
    explicit Value(Type type) : type(type) { godot.variant_get_ptr_constructor(type, 0)(room, nullptr); }
    Value(Type type, GDExtensionConstVariantPtr from) : type(type) {
        godot.get_variant_to_type_constructor(type)(room, const_cast<void *>(from));
    }
    Value(const Value &) = delete;
    ~Value() { destroy(type, room); }
    void *get() { return room; }

private:
    Type type;
    Room room;
};

class Name {
public:
    explicit Name(const char *text) { godot.string_name_new_with_latin1_chars(room, text, false); }
    Name(const Name &) = delete;
    ~Name() { destroy(STRING_NAME, room); }
    void *get() { return room; }

private:
    Room room;
};

// A Variant that owns a copy of a value (of an Array or a Dictionary: a reference to it).
class Variant {
public:
    Variant(Type type, const void *value) {
        godot.get_variant_from_type_constructor(type)(room, const_cast<void *>(value));
    }
    Variant(const Variant &) = delete;
    ~Variant() { godot.variant_destroy(room); }
    void *get() { return room; }

    // Calls a method that returns an int, or nothing.
    int64_t call(const char *method, void *argument = nullptr) {
        Name name(method);
        Room returned;
        GDExtensionConstVariantPtr arguments[] = {argument};
        GDExtensionCallError error{};
        godot.variant_call(room, name.get(), arguments, argument ? 1 : 0, returned, &error);
        int64_t number = 0;
        if (godot.variant_get_type(returned) == INT) godot.get_variant_to_type_constructor(INT)(&number, returned);
        godot.variant_destroy(returned);
        return number;
    }

private:
    Room room;
};

inline std::string utf8(GDExtensionConstStringPtr text) {
    std::string bytes(static_cast<size_t>(godot.string_to_utf8_chars(text, nullptr, 0)), '\0');
    godot.string_to_utf8_chars(text, bytes.data(), static_cast<GDExtensionInt>(bytes.size()));
    return bytes;
}

inline std::vector<std::string> utf8s(GDExtensionConstTypePtr texts) {
    std::vector<std::string> all(static_cast<size_t>(Variant(STRINGS, texts).call("size")));
    for (size_t i = 0; i < all.size(); i++)
        all[i] = utf8(godot.packed_string_array_operator_index_const(texts, static_cast<GDExtensionInt>(i)));
    return all;
}

// The elements of an Array, as values of one type.
inline std::vector<std::unique_ptr<Value>> items(GDExtensionConstTypePtr array, Type type) {
    std::vector<std::unique_ptr<Value>> all(static_cast<size_t>(Variant(ARRAY, array).call("size")));
    for (size_t i = 0; i < all.size(); i++) {
        auto item = godot.array_operator_index_const(array, static_cast<GDExtensionInt>(i));
        all[i] = std::make_unique<Value>(type, item);
    }
    return all;
}

// Replaces the String at `place`.
inline void set_string(GDExtensionTypePtr place, const std::string &text) {
    destroy(STRING, place);
    godot.string_new_with_utf8_chars_and_len(place, text.data(), static_cast<GDExtensionInt>(text.size()));
}

inline void append(GDExtensionTypePtr array, Type type, const void *value) {
    Variant item(type, value);
    Variant(ARRAY, array).call("append", item.get());
}

inline void set_item(GDExtensionTypePtr dictionary, const char *key, Type type, const void *value) {
    Value text(STRING);
    set_string(text.get(), key);
    void *slot = godot.dictionary_operator_index(dictionary, Variant(STRING, text.get()).get());
    godot.variant_destroy(slot);
    godot.get_variant_from_type_constructor(type)(slot, const_cast<void *>(value));
}
inline void set_int(GDExtensionTypePtr dictionary, const char *key, int64_t value) {
    set_item(dictionary, key, INT, &value);
}
inline void set_float(GDExtensionTypePtr dictionary, const char *key, double value) {
    set_item(dictionary, key, FLOAT, &value);
}

// A method of a class: `body` reads arguments and assigns the result, both as the plain types of the engine.
struct Method {
    const char *name;
    Type result;
    std::vector<std::pair<const char *, Type>> arguments;
    void (*body)(void *self, const GDExtensionConstTypePtr *arguments, GDExtensionTypePtr result);
};

inline void call_typed(void *method, void *self, const GDExtensionConstTypePtr *arguments, GDExtensionTypePtr result) {
    static_cast<const Method *>(method)->body(self, arguments, result);
}

inline void call_untyped(void *userdata, void *self, const GDExtensionConstVariantPtr *arguments, GDExtensionInt count,
                         GDExtensionVariantPtr returned, GDExtensionCallError *error) {
    const Method &method = *static_cast<const Method *>(userdata);
    auto expected = static_cast<GDExtensionInt>(method.arguments.size());
    if (count != expected) {
        error->error = count < expected ? GDEXTENSION_CALL_ERROR_TOO_FEW_ARGUMENTS
                                        : GDEXTENSION_CALL_ERROR_TOO_MANY_ARGUMENTS;
        error->expected = static_cast<int32_t>(expected);
        return;
    }
    for (GDExtensionInt i = 0; i < count; i++) {
        Type wanted = method.arguments[static_cast<size_t>(i)].second;
        if (!godot.variant_can_convert_strict(godot.variant_get_type(arguments[i]), wanted)) {
            *error = {GDEXTENSION_CALL_ERROR_INVALID_ARGUMENT, static_cast<int32_t>(i), wanted};
            return;
        }
    }
    std::vector<std::unique_ptr<Value>> values;
    std::vector<GDExtensionConstTypePtr> pointers;
    for (GDExtensionInt i = 0; i < count; i++) {
        values.push_back(std::make_unique<Value>(method.arguments[static_cast<size_t>(i)].second, arguments[i]));
        pointers.push_back(values.back()->get());
    }
    Value result(method.result);
    method.body(self, pointers.data(), result.get());
    godot.variant_destroy(returned);
    godot.get_variant_from_type_constructor(method.result)(returned, result.get());
    error->error = GDEXTENSION_CALL_OK;
}

inline void register_method(GDExtensionClassLibraryPtr library, const char *class_name, const Method &method) {
    // PROPERTY_USAGE_DEFAULT of the engine.
    constexpr uint32_t usage = 6;
    Name owner(class_name), name(method.name), none("");
    Value hint(STRING);
    std::vector<std::unique_ptr<Name>> names;
    std::vector<GDExtensionPropertyInfo> arguments;
    std::vector<GDExtensionClassMethodArgumentMetadata> metadata(method.arguments.size(),
                                                                GDEXTENSION_METHOD_ARGUMENT_METADATA_NONE);
    for (auto &[argument, type] : method.arguments) {
        names.push_back(std::make_unique<Name>(argument));
        arguments.push_back({type, names.back()->get(), none.get(), 0, hint.get(), usage});
    }
    GDExtensionPropertyInfo result{method.result, none.get(), none.get(), 0, hint.get(), usage};
    GDExtensionClassMethodInfo info{};
    info.name = name.get();
    info.method_userdata = const_cast<Method *>(&method);
    info.call_func = call_untyped;
    info.ptrcall_func = call_typed;
    info.method_flags = GDEXTENSION_METHOD_FLAGS_DEFAULT;
    info.has_return_value = true;
    info.return_value_info = &result;
    info.argument_count = static_cast<uint32_t>(arguments.size());
    info.arguments_info = arguments.data();
    info.arguments_metadata = metadata.data();
    godot.classdb_register_extension_class_method(library, owner.get(), &info);
}

}  // namespace engine
