/* The part of Godot's C interface that crossrank.cpp uses: types and functions of gdextension_interface.h as of Godot 4.2,
 * which later versions keep. Compile with Godot's own header instead by defining CROSSRANK_GDEXTENSION_INTERFACE. */
#ifndef CROSSRANK_GDEXTENSION_H
#define CROSSRANK_GDEXTENSION_H

#ifdef CROSSRANK_GDEXTENSION_INTERFACE
#include <gdextension_interface.h>
#else

#include <stddef.h>
#include <stdint.h>

typedef uint8_t GDExtensionBool;
typedef int64_t GDExtensionInt;
/* Objects of the engine. Uninitialized ones are memory to construct a value in. */
typedef void *GDExtensionVariantPtr, *GDExtensionUninitializedVariantPtr;
typedef const void *GDExtensionConstVariantPtr;
typedef void *GDExtensionStringNamePtr, *GDExtensionUninitializedStringNamePtr;
typedef const void *GDExtensionConstStringNamePtr;
typedef void *GDExtensionStringPtr, *GDExtensionUninitializedStringPtr;
typedef const void *GDExtensionConstStringPtr;
typedef void *GDExtensionTypePtr, *GDExtensionUninitializedTypePtr;
typedef const void *GDExtensionConstTypePtr;
typedef void *GDExtensionObjectPtr, *GDExtensionClassInstancePtr, *GDExtensionClassLibraryPtr;

typedef enum {
    GDEXTENSION_VARIANT_TYPE_NIL = 0,
    GDEXTENSION_VARIANT_TYPE_BOOL = 1,
    GDEXTENSION_VARIANT_TYPE_INT = 2,
    GDEXTENSION_VARIANT_TYPE_FLOAT = 3,
    GDEXTENSION_VARIANT_TYPE_STRING = 4,
    GDEXTENSION_VARIANT_TYPE_STRING_NAME = 21,
    GDEXTENSION_VARIANT_TYPE_DICTIONARY = 27,
    GDEXTENSION_VARIANT_TYPE_ARRAY = 28,
    GDEXTENSION_VARIANT_TYPE_PACKED_BYTE_ARRAY = 29,
    GDEXTENSION_VARIANT_TYPE_PACKED_STRING_ARRAY = 34,
    GDEXTENSION_VARIANT_TYPE_VARIANT_MAX = 39
} GDExtensionVariantType;

typedef enum {
    GDEXTENSION_CALL_OK = 0,
    GDEXTENSION_CALL_ERROR_INVALID_ARGUMENT = 2,
    GDEXTENSION_CALL_ERROR_TOO_MANY_ARGUMENTS = 3,
    GDEXTENSION_CALL_ERROR_TOO_FEW_ARGUMENTS = 4
} GDExtensionCallErrorType;

typedef struct {
    GDExtensionCallErrorType error;
    int32_t argument;
    int32_t expected;
} GDExtensionCallError;

typedef enum { GDEXTENSION_METHOD_FLAGS_DEFAULT = 1 } GDExtensionClassMethodFlags;
typedef enum { GDEXTENSION_METHOD_ARGUMENT_METADATA_NONE = 0 } GDExtensionClassMethodArgumentMetadata;

typedef struct {
    GDExtensionVariantType type;
    GDExtensionStringNamePtr name;
    GDExtensionStringNamePtr class_name;
    uint32_t hint;
    GDExtensionStringPtr hint_string;
    uint32_t usage;
} GDExtensionPropertyInfo;

typedef void (*GDExtensionClassMethodCall)(void *method_userdata, GDExtensionClassInstancePtr p_instance,
                                           const GDExtensionConstVariantPtr *p_args, GDExtensionInt p_argument_count,
                                           GDExtensionVariantPtr r_return, GDExtensionCallError *r_error);
typedef void (*GDExtensionClassMethodPtrCall)(void *method_userdata, GDExtensionClassInstancePtr p_instance,
                                              const GDExtensionConstTypePtr *p_args, GDExtensionTypePtr r_ret);

typedef struct {
    GDExtensionStringNamePtr name;
    void *method_userdata;
    GDExtensionClassMethodCall call_func;
    GDExtensionClassMethodPtrCall ptrcall_func;
    uint32_t method_flags;
    GDExtensionBool has_return_value;
    GDExtensionPropertyInfo *return_value_info;
    GDExtensionClassMethodArgumentMetadata return_value_metadata;
    uint32_t argument_count;
    GDExtensionPropertyInfo *arguments_info;
    GDExtensionClassMethodArgumentMetadata *arguments_metadata;
    uint32_t default_argument_count;
    GDExtensionVariantPtr *default_arguments;
} GDExtensionClassMethodInfo;

typedef GDExtensionObjectPtr (*GDExtensionClassCreateInstance)(void *p_class_userdata);
typedef void (*GDExtensionClassFreeInstance)(void *p_class_userdata, GDExtensionClassInstancePtr p_instance);

/* Hooks that crossrank.cpp leaves empty stand as plain pointers. */
typedef struct {
    GDExtensionBool is_virtual;
    GDExtensionBool is_abstract;
    GDExtensionBool is_exposed;
    void (*set_func)(void);
    void (*get_func)(void);
    void (*get_property_list_func)(void);
    void (*free_property_list_func)(void);
    void (*property_can_revert_func)(void);
    void (*property_get_revert_func)(void);
    void (*validate_property_func)(void);
    void (*notification_func)(void);
    void (*to_string_func)(void);
    void (*reference_func)(void);
    void (*unreference_func)(void);
    GDExtensionClassCreateInstance create_instance_func;
    GDExtensionClassFreeInstance free_instance_func;
    void (*recreate_instance_func)(void);
    void (*get_virtual_func)(void);
    void (*get_virtual_call_data_func)(void);
    void (*call_virtual_with_data_func)(void);
    void (*get_rid_func)(void);
    void *class_userdata;
} GDExtensionClassCreationInfo2;

typedef enum { GDEXTENSION_INITIALIZATION_SCENE = 2 } GDExtensionInitializationLevel;

typedef struct {
    GDExtensionInitializationLevel minimum_initialization_level;
    void *userdata;
    void (*initialize)(void *p_userdata, GDExtensionInitializationLevel p_level);
    void (*deinitialize)(void *p_userdata, GDExtensionInitializationLevel p_level);
} GDExtensionInitialization;

typedef void (*GDExtensionInterfaceFunctionPtr)(void);
typedef GDExtensionInterfaceFunctionPtr (*GDExtensionInterfaceGetProcAddress)(const char *p_function_name);

/* Functions that get_proc_address finds by name. */
typedef void (*GDExtensionVariantFromTypeConstructorFunc)(GDExtensionUninitializedVariantPtr, GDExtensionTypePtr);
typedef void (*GDExtensionTypeFromVariantConstructorFunc)(GDExtensionUninitializedTypePtr, GDExtensionVariantPtr);
typedef void (*GDExtensionPtrConstructor)(GDExtensionUninitializedTypePtr p_base, const GDExtensionConstTypePtr *p_args);
typedef void (*GDExtensionPtrDestructor)(GDExtensionTypePtr p_base);
typedef GDExtensionVariantFromTypeConstructorFunc (*GDExtensionInterfaceGetVariantFromTypeConstructor)(
    GDExtensionVariantType p_type);
typedef GDExtensionTypeFromVariantConstructorFunc (*GDExtensionInterfaceGetVariantToTypeConstructor)(
    GDExtensionVariantType p_type);
typedef GDExtensionPtrConstructor (*GDExtensionInterfaceVariantGetPtrConstructor)(GDExtensionVariantType p_type,
                                                                                int32_t p_constructor);
typedef GDExtensionPtrDestructor (*GDExtensionInterfaceVariantGetPtrDestructor)(GDExtensionVariantType p_type);
typedef void (*GDExtensionInterfaceVariantDestroy)(GDExtensionVariantPtr p_self);
typedef GDExtensionVariantType (*GDExtensionInterfaceVariantGetType)(GDExtensionConstVariantPtr p_self);
typedef GDExtensionBool (*GDExtensionInterfaceVariantCanConvertStrict)(GDExtensionVariantType p_from,
                                                                       GDExtensionVariantType p_to);
typedef void (*GDExtensionInterfaceVariantCall)(GDExtensionVariantPtr p_self, GDExtensionConstStringNamePtr p_method,
                                                const GDExtensionConstVariantPtr *p_args,
                                                GDExtensionInt p_argument_count,
                                                GDExtensionUninitializedVariantPtr r_return,
                                                GDExtensionCallError *r_error);
typedef void (*GDExtensionInterfaceStringNameNewWithLatin1Chars)(GDExtensionUninitializedStringNamePtr r_dest,
                                                                const char *p_contents, GDExtensionBool p_is_static);
typedef void (*GDExtensionInterfaceStringNewWithUtf8CharsAndLen)(GDExtensionUninitializedStringPtr r_dest,
                                                                const char *p_contents, GDExtensionInt p_size);
typedef GDExtensionInt (*GDExtensionInterfaceStringToUtf8Chars)(GDExtensionConstStringPtr p_self, char *r_text,
                                                                GDExtensionInt p_max_write_length);
typedef GDExtensionVariantPtr (*GDExtensionInterfaceArrayOperatorIndexConst)(GDExtensionConstTypePtr p_self,
                                                                             GDExtensionInt p_index);
typedef GDExtensionStringPtr (*GDExtensionInterfacePackedStringArrayOperatorIndexConst)(GDExtensionConstTypePtr p_self,
                                                                                        GDExtensionInt p_index);
typedef const uint8_t *(*GDExtensionInterfacePackedByteArrayOperatorIndexConst)(GDExtensionConstTypePtr p_self,
                                                                                GDExtensionInt p_index);
typedef GDExtensionVariantPtr (*GDExtensionInterfaceDictionaryOperatorIndex)(GDExtensionTypePtr p_self,
                                                                            GDExtensionConstVariantPtr p_key);
typedef GDExtensionObjectPtr (*GDExtensionInterfaceClassdbConstructObject)(GDExtensionConstStringNamePtr p_classname);
typedef void (*GDExtensionInterfaceObjectSetInstance)(GDExtensionObjectPtr p_o, GDExtensionConstStringNamePtr p_classname,
                                                      GDExtensionClassInstancePtr p_instance);
typedef void (*GDExtensionInterfaceClassdbRegisterExtensionClass2)(
    GDExtensionClassLibraryPtr p_library, GDExtensionConstStringNamePtr p_class_name,
    GDExtensionConstStringNamePtr p_parent_class_name, const GDExtensionClassCreationInfo2 *p_extension_funcs);
typedef void (*GDExtensionInterfaceClassdbRegisterExtensionClassMethod)(GDExtensionClassLibraryPtr p_library,
                                                                       GDExtensionConstStringNamePtr p_class_name,
                                                                       const GDExtensionClassMethodInfo *p_method_info);
typedef void (*GDExtensionInterfaceClassdbRegisterExtensionClassIntegerConstant)(
    GDExtensionClassLibraryPtr p_library, GDExtensionConstStringNamePtr p_class_name,
    GDExtensionConstStringNamePtr p_enum_name, GDExtensionConstStringNamePtr p_constant_name,
    GDExtensionInt p_constant_value, GDExtensionBool p_is_bitfield);
typedef void (*GDExtensionInterfacePrintError)(const char *p_description, const char *p_function, const char *p_file,
                                              int32_t p_line, GDExtensionBool p_editor_notify);
typedef void (*GDExtensionInterfaceClassdbUnregisterExtensionClass)(GDExtensionClassLibraryPtr p_library,
                                                                   GDExtensionConstStringNamePtr p_class_name);

#endif
#endif
