#pragma once
struct IModuleInterface {
    virtual ~IModuleInterface() = default;
    virtual void StartupModule() {}
    virtual void ShutdownModule() {}
};
#define IMPLEMENT_MODULE(Class, Name) \
    IModuleInterface *Make##Name();   \
    IModuleInterface *Make##Name() { return new Class; }
