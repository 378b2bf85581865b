using System.IO;
using UnrealBuildTool;

public class Crossrank : ModuleRules
{
	public Crossrank(ReadOnlyTargetRules Target) : base(Target)
	{
		PCHUsage = PCHUsageMode.UseExplicitOrSharedPCHs;
		PublicDependencyModuleNames.Add("Core");
		PrivateDependencyModuleNames.Add("Projects");

		// include/crossrank.h and lib/<platform>/, where the README asks for them.
		string ThirdParty = Path.Combine(PluginDirectory, "Source", "ThirdParty", "crossrank");
		string Libraries = Path.Combine(ThirdParty, "lib", Target.Platform.ToString());
		PrivateIncludePaths.Add(Path.Combine(ThirdParty, "include"));

		if (Target.Platform == UnrealTargetPlatform.Win64)
		{
			// Loaded by the module itself, from the plugin's folder: see CrossrankModule.cpp.
			PublicAdditionalLibraries.Add(Path.Combine(Libraries, "crossrank.dll.lib"));
			PublicDelayLoadDLLs.Add("crossrank.dll");
			RuntimeDependencies.Add(Path.Combine(Libraries, "crossrank.dll"));
		}
		else if (Target.Platform == UnrealTargetPlatform.Linux || Target.Platform == UnrealTargetPlatform.LinuxArm64)
		{
			Shared(Path.Combine(Libraries, "libcrossrank.so"));
		}
		else if (Target.Platform == UnrealTargetPlatform.Mac)
		{
			Shared(Path.Combine(Libraries, "libcrossrank.dylib"));
		}
		else if (Target.Platform == UnrealTargetPlatform.Android)
		{
			// The folders are named as in an APK; the build takes the one of its architecture.
			foreach (string Abi in new[] { "arm64-v8a", "x86_64" })
			{
				PublicAdditionalLibraries.Add(Path.Combine(Libraries, Abi, "libcrossrank.a"));
			}
		}
		else if (Target.Platform == UnrealTargetPlatform.IOS)
		{
			PublicAdditionalLibraries.Add(Path.Combine(Libraries, "libcrossrank.a"));
		}
		else
		{
			throw new BuildException("crossrank has no library for " + Target.Platform);
		}
	}

	private void Shared(string Library)
	{
		PublicAdditionalLibraries.Add(Library);
		RuntimeDependencies.Add(Library);
	}
}
