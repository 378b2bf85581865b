#include "HAL/PlatformProcess.h"
#include "Interfaces/IPluginManager.h"
#include "Misc/Paths.h"
#include "Modules/ModuleManager.h"

/** Loads crossrank.dll: Windows does not search a plugin's folder for it. */
class FCrossrankModule : public IModuleInterface
{
public:
	virtual void StartupModule() override
	{
#if PLATFORM_WINDOWS
		const FString Folder = IPluginManager::Get().FindPlugin(TEXT("Crossrank"))->GetBaseDir();
		Library = FPlatformProcess::GetDllHandle(
			*FPaths::Combine(Folder, TEXT("Source/ThirdParty/crossrank/lib/Win64/crossrank.dll")));
#endif
	}

	virtual void ShutdownModule() override
	{
		if (Library)
		{
			FPlatformProcess::FreeDllHandle(Library);
		}
	}

private:
	void* Library = nullptr;
};

IMPLEMENT_MODULE(FCrossrankModule, Crossrank)
