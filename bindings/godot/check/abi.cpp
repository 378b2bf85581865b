// Loads the extension as the engine does, and tells whether it refuses the library's binary interface: abi <extension> <0 or 1>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "crossrank.h"
#include "../gdextension_interface.h"

static std::string message;

static void print_error(const char *description, const char *, const char *, int32_t, GDExtensionBool) {
    message = description;
}

// An engine that has nothing but a log.
static GDExtensionInterfaceFunctionPtr find(const char *name) {
    return std::strcmp(name, "print_error") == 0 ? reinterpret_cast<GDExtensionInterfaceFunctionPtr>(print_error) : nullptr;
}

int main(int, char **arguments) {
    void *library = dlopen(arguments[1], RTLD_NOW);
    if (library == nullptr) return std::printf("%s\n", dlerror()), 1;
    using Init = GDExtensionBool (*)(GDExtensionInterfaceGetProcAddress, GDExtensionClassLibraryPtr,
                                     GDExtensionInitialization *);
    GDExtensionInitialization out{};
    auto initialized = reinterpret_cast<Init>(dlsym(library, "crossrank_godot_init"))(find, nullptr, &out);
    const bool refused = message.find("binary interface " + std::to_string(crossrank_abi())) != std::string::npos;
    std::printf("the extension says: %s\n", message.empty() ? "nothing" : message.c_str());
    return !initialized && refused == (std::atoi(arguments[2]) == 1) ? 0 : 1;
}
